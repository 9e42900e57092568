"""Sources by address: http, https, s3 and gs."""
