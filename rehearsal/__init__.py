"""The world around vicisync, small enough to start in a second: what demo, tests and benchmark share.

- ``mariadb``: a private MariaDB with VICIdial's call log
- ``did_optimizer``: a real HTTP server that plays DID Optimizer, faults included
- ``dialer``: VICIdial's part, every life that a row of the call log can have

None of it imports vicisync, so that it can judge vicisync from outside.
"""
