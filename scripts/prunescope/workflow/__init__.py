"""Code that runs before and around the jobs: config, cluster requests, records and locks."""
