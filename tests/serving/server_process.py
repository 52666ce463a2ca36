"""The server of a bundle as a process of its own, and any app behind uvicorn in a thread."""

import contextlib
import json
import subprocess
import sys
import threading
import time

import requests
import uvicorn

from dgfnet.serve import configuration
from dgfnet.serving.connection import Limits
from dgfnet.serving.server import listen

SERVER = """
import json, sys, time
from pathlib import Path
import uvicorn
from dgfnet.bundle.model import ScoringModel
from dgfnet.serve import configuration
from dgfnet.bundle.model import ScoringModel
from dgfnet.serving.connection import Limits
from dgfnet.serving.forms import answer_body
from dgfnet.serving.server import listen, scoring_app

class Slow(ScoringModel):
    def answer(self, crops):
        time.sleep(float(sys.argv[3]))
        return super().answer(crops)

limits = Limits(**json.loads(sys.argv[2]))
model = Slow(**vars(ScoringModel.open(Path(sys.argv[1]))))
with listen("127.0.0.1", 0) as listening:
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(configuration(scoring_app(model, "m", "1", limits), limits)).run(sockets=[listening])
"""


@contextlib.contextmanager
def server(bundle, limits, seconds=0.0):
    """A server process with these limits, and its port; each work takes so long."""
    command = [sys.executable, "-c", SERVER, str(bundle), json.dumps(limits), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline())
            yield process, port
        finally:
            process.kill()


def wait_for(address):
    for _ in range(600):
        try:
            if requests.get(f"{address}/ping", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@contextlib.contextmanager
def running(app):
    """Address of an app behind uvicorn, as `dgfnet serve` runs it."""
    server = uvicorn.Server(configuration(app, Limits(), "critical"))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = "http://{}:{}".format(*listening.getsockname())
        try:
            wait_for(address)
            yield f"{address}/invocations"
        finally:
            server.should_exit = True
            thread.join()
