"""Routes, one noun a module."""

from api.routes import (
    access,
    archives,
    catalog,
    compare,
    datasets,
    events,
    jobs,
    page,
    results,
    series,
    server,
    snapshots,
    webhooks,
)

#: the hottest first: a request is matched against one after another
ALL = (
    jobs.routes,
    events.routes,
    series.routes,
    results.routes,
    snapshots.routes,
    catalog.routes,
    server.routes,
    compare.routes,
    datasets.routes,
    archives.routes,
    webhooks.routes,
    access.routes,
    page.routes,
)
