"""End-to-end tests of the browser client and its page."""
