"""``make bench``: what a poll, a backlog, an idle run and memory cost, each beside a baseline of the same run."""
