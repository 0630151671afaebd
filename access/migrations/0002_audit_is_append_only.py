"""The audit log only grows: Postgres refuses to change or remove an entry, whoever asks."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION access_auditentry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER auditentry_is_never_changed_or_deleted BEFORE UPDATE OR DELETE ON access_auditentry
    FOR EACH ROW EXECUTE FUNCTION access_auditentry_is_append_only();

CREATE TRIGGER auditentry_is_never_truncated BEFORE TRUNCATE ON access_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION access_auditentry_is_append_only();
"""

BACKWARD = """
DROP TRIGGER auditentry_is_never_truncated ON access_auditentry;
DROP TRIGGER auditentry_is_never_changed_or_deleted ON access_auditentry;
DROP FUNCTION access_auditentry_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("access", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
