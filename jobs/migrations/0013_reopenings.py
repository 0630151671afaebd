"""A number that grows with each job that is reopened: retention asks whether it has, before it drops a day of the log."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0012_large_results'),
    ]

    operations = [
        migrations.RunSQL("CREATE SEQUENCE jobs_reopening", "DROP SEQUENCE jobs_reopening"),
    ]
