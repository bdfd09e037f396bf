"""Serves one page that says who made it, and a health check."""

import os
import platform
import signal
import sys

from flask import Flask, jsonify, render_template

NAME = "kiln-python-app"
app = Flask(__name__)


@app.get("/")
def page():
    return render_template("page.html", name=NAME, python=platform.python_version())


@app.get("/health")
def health():
    return jsonify(status="ok", name=NAME)


if __name__ == "__main__":
    # As process 1 in a container nobody else turns the stop signal into an exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "80")))
