"""HTTP load by wrk: requests per second and latency percentiles."""
import os
import re
import shutil
import subprocess
import tempfile

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def wrk(server, path, connections, seconds, body=None):
    """One thread of wrk; returns {rate, p50_ms, p99_ms, errors}."""
    if not shutil.which("wrk"):
        raise SystemExit("bench: wrk is missing: apt-get install wrk")
    script = f'wrk.headers["Authorization"] = "Bearer {server.key}"\n'
    if body is not None:
        script += f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [==[{body}]==]\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as f:
        f.write(script)
    try:
        text = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", f.name,
                               f"http://127.0.0.1:{server.port}{path}"], capture_output=True, text=True, check=True).stdout
    finally:
        os.unlink(f.name)

    def percentile(p):
        m = re.search(rf"^\s+{p}%\s+([\d.]+)(us|ms|s|m)", text, re.M)
        return float(m[1]) * UNITS[m[2]]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), "p50_ms": percentile(50), "p99_ms": percentile(99),
            "errors": int(bad[1]) if bad else 0}
