"""Reading runs: `Api`, stored runs, runs read through a server."""
