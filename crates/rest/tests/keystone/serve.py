"""A Keystone for tests: sqlite, fernet keys, loopback, a free port. Run by the Python of an
environment that has keystone. Prints `ready <port>` when it answers; ends with its standard input.

Usage: serve.py <folder> <lifetime of a token in seconds> [prepare]
"""

import os
import sqlite3
import subprocess
import sys
import threading

from cryptography.fernet import Fernet

folder, lifetime = os.path.abspath(sys.argv[1]), int(sys.argv[2])
conf = os.path.join(folder, f"keystone-{lifetime}.conf")
keys = os.path.join(folder, "keys")

with open(conf, "w") as file:
    file.write(
        f"""[DEFAULT]
use_stderr = false
log_file = {folder}/keystone-{lifetime}.log
[database]
connection = sqlite:///{folder}/keystone.db
[cache]
enabled = false
[identity]
password_hash_rounds = 4
[token]
expiration = {lifetime}
[fernet_tokens]
key_repository = {keys}
[fernet_receipts]
key_repository = {keys}
[credential]
key_repository = {keys}
"""
    )

if sys.argv[3:] == ["prepare"]:
    os.makedirs(keys, mode=0o700)
    for number in ("0", "1"):
        with open(os.path.join(keys, number), "wb") as file:
            file.write(Fernet.generate_key())
    manage = os.path.join(os.path.dirname(sys.executable), "keystone-manage")
    for command in (["db_sync"], ["bootstrap", "--bootstrap-password", "admin-password"]):
        subprocess.run([manage, "--config-file", conf] + command, check=True)
    # Keystone reads over one connection while it commits over another.
    sqlite3.connect(os.path.join(folder, "keystone.db")).execute("PRAGMA journal_mode=WAL")

sys.argv = ["keystone", "--config-file", conf]
os.environ["OS_KEYSTONE_CONFIG_FILES"] = conf
from keystone.server.wsgi import initialize_public_application
from wsgiref.simple_server import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


server = make_server("127.0.0.1", 0, initialize_public_application(), handler_class=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"ready {server.server_port}", flush=True)
sys.stdin.read()
