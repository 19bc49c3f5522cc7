"""The floor to measure against: a bare FastAPI route that reads the same row by the same statement."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Response
from psycopg_pool import AsyncConnectionPool

from store.shown import SHOWN

pool = AsyncConnectionPool(
    os.environ["BFC_DATABASE_URL"], min_size=1, max_size=8, open=False, kwargs={"autocommit": True}
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await pool.open()
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.get("/v1/jobs/{job_id}")
async def read(job_id: str) -> Response:
    async with pool.connection() as connection:
        cursor = await connection.execute(f"SELECT {SHOWN} FROM jobs WHERE id = %s", (job_id,), prepare=True)
        row = await cursor.fetchone()
    return Response(row[0] if row else "null", media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
