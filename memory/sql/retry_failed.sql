-- Queue every memory that failed. Served by memory_not_ready.
UPDATE memory_memory SET embed_after = now(), embed_tries = 0 WHERE embedding_status = 'failed' RETURNING id
