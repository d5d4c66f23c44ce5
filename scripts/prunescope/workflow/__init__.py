"""What Snakemake needs before and around the jobs: config, requests, records, locks."""
