"""The dashboard's web server: its access check, allowed host names and security headers."""
