encode(sha256(convert_to(jsonb_build_object('type', j.type, 'queue', j.queue, 'input', j.input)::text, 'UTF8')), 'hex')
