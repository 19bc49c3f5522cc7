-- What the database itself keeps true about jobs, whoever writes.

-- Epoch 0 was never leased: only an imported job's rows carry it.
CREATE FUNCTION bfc_fence(job text, writer bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM jobs
     WHERE id = job AND epoch = writer
       AND (state IN ('running', 'pausing', 'cancelling') OR (writer = 0 AND origin_id IS NOT NULL))
       FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'stale epoch % for job %', writer, job USING ERRCODE = 'BF001';
    END IF;
END $$;

-- One look a job and statement, however many rows it writes.
CREATE FUNCTION bfc_fence_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bfc_fence(job_id, epoch) FROM (SELECT DISTINCT job_id, epoch FROM fresh ORDER BY job_id) AS writers;
    RETURN NULL;
END $$;

CREATE TRIGGER fence AFTER INSERT ON series_chunks REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION bfc_fence_rows();
CREATE TRIGGER fence AFTER INSERT ON snapshots REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION bfc_fence_rows();
CREATE TRIGGER fence AFTER INSERT ON results REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION bfc_fence_rows();
CREATE TRIGGER fence AFTER INSERT ON result_tables REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION bfc_fence_rows();

-- A step from state to state: allowed by the table, stamped, told in an event and in the audit.
CREATE FUNCTION bfc_job_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch OR NEW.attempt < OLD.attempt OR NEW.event_seq < OLD.event_seq THEN
        RAISE EXCEPTION 'job %: epoch, attempt and event_seq never fall', OLD.id USING ERRCODE = 'BF002';
    END IF;
    IF NEW.state = OLD.state THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM transitions WHERE source = OLD.state AND target = NEW.state) THEN
        RAISE EXCEPTION 'job %: no step from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'BF002';
    END IF;
    IF NEW.state IN ('succeeded', 'failed', 'cancelled') THEN
        NEW.finished_at := clock_timestamp();
    ELSE
        NEW.finished_at := NULL;
    END IF;
    IF NEW.state = 'queued' THEN
        NEW.queued_at := clock_timestamp();
    ELSIF NEW.state = 'running' THEN
        NEW.started_at := coalesce(NEW.started_at, clock_timestamp());
    END IF;
    IF NEW.state NOT IN ('running', 'pausing', 'cancelling') THEN
        NEW.lease_until := NULL;
    END IF;
    NEW.event_seq := NEW.event_seq + 1;
    PERFORM bfc_tell_state(NEW, OLD.state);
    RETURN NEW;
END $$;

CREATE FUNCTION bfc_tell_state(job jobs, source text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (job_id, seq, project_id, parent_id, kind, data)
    VALUES (job.id, job.event_seq, job.project_id, job.parent_id, 'state',
            jsonb_strip_nulls(jsonb_build_object('state', job.state, 'from', source, 'attempt', job.attempt,
                'reason', job.reason, 'error', CASE WHEN job.state IN ('failed', 'cancelled') THEN job.error END)));
    INSERT INTO audit (job_id, source, target, epoch, worker_id, actor, reason)
    VALUES (job.id, source, job.state, job.epoch, job.worker_id, nullif(current_setting('bfc.actor', true), ''),
            job.reason);
END $$;

CREATE TRIGGER step BEFORE UPDATE OF state, epoch, attempt, event_seq ON jobs
    FOR EACH ROW EXECUTE FUNCTION bfc_job_step();

CREATE FUNCTION bfc_job_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.event_seq := 1;
    IF NEW.state = 'queued' THEN
        NEW.queued_at := coalesce(NEW.queued_at, now());
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER made BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION bfc_job_made();

CREATE FUNCTION bfc_job_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bfc_tell_state(NEW, NULL);
    RETURN NULL;
END $$;

CREATE TRIGGER told AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION bfc_job_told();

-- A job that may be claimed and its bell are one transaction. One bell a pack.
CREATE FUNCTION bfc_job_bell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.pack_id IS NULL OR NOT EXISTS (
        SELECT 1 FROM jobs WHERE pack_id = NEW.pack_id AND slot < NEW.slot AND state = 'queued') THEN
        INSERT INTO outbox (queue, job_id) VALUES (coalesce(NEW.device_class, NEW.device), NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER bell_made AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.state = 'queued') EXECUTE FUNCTION bfc_job_bell();
CREATE TRIGGER bell_queued AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (NEW.state = 'queued' AND OLD.state <> 'queued') EXECUTE FUNCTION bfc_job_bell();
CREATE TRIGGER bell_conclude AFTER UPDATE OF conclude_due ON jobs FOR EACH ROW
    WHEN (NEW.conclude_due AND NOT OLD.conclude_due) EXECUTE FUNCTION bfc_job_bell();

-- Chunks are compressed before they are sent; PostgreSQL's own compression would only cost time.
ALTER TABLE tensor_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE series_chunks ALTER COLUMN point_steps SET STORAGE EXTERNAL;
ALTER TABLE series_chunks ALTER COLUMN point_values SET STORAGE EXTERNAL;
