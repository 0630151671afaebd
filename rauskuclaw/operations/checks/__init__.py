"""The doctor's checks: of this machine, of the two servers, of the running stack. Each yields its findings."""
