"""The page: static files that speak only the public HTTP API. No build step, nothing from elsewhere."""

from pathlib import Path

FOLDER = Path(__file__).parent

# What the browser may do for this page: no inline script or style, no eval, nothing from another origin.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
