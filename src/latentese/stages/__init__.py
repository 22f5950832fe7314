"""One function per stage: read artifacts, call the library, publish an artifact."""
