"""Hourly buckets in Redis through a pipeline: a hash a user, a HyperLogLog an hour; approximate."""

import itertools
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager

import job

try:
    import hiredis
    import redis
except ImportError:
    redis = None

EVENTS_A_ROUND_TRIP = 256
N_ANSWERS = 8
HOURS = [length // job.HOUR for length in job.WINDOWS.values()]


@contextmanager
def server():
    """A private one that writes nothing to disk; gives a client of it."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/socket"
        command = ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", folder]
        in_memory = ["--save", "", "--appendonly", "no"]
        process = subprocess.Popen([*command, *in_memory], stdout=subprocess.DEVNULL)
        try:
            client = redis.Redis(unix_socket_path=socket)
            wait_for(client)
            yield client
        finally:
            process.terminate()
            process.wait()


def wait_for(client):
    for _ in range(100):
        try:
            return client.ping()
        except redis.ConnectionError:
            time.sleep(0.1)
    raise TimeoutError("redis-server does not answer")


def ask(pipeline, user, time, item, value):
    """Takes an event in and reads all windows after it; `N_ANSWERS` commands."""
    hour, profile = time // job.HOUR, f"user:{user}"
    pipeline.hincrby(profile, f"n{hour}", 1)
    pipeline.hincrbyfloat(profile, f"s{hour}", value)
    pipeline.hset(profile, "last", time)
    pipeline.pfadd(f"items:{user}:{hour}", item)
    pipeline.hgetall(profile)
    for n_hours in HOURS:
        pipeline.pfcount(*(f"items:{user}:{bucket}" for bucket in range(hour - n_hours + 1, hour + 1)))


def vector(now, answers):
    """From the answers to `ask`."""
    hour, (profile, *distinct) = now // job.HOUR, answers[4:]
    since = now - int(profile.pop(b"last"))
    counts, sums = [0] * len(HOURS), [0.0] * len(HOURS)
    for field, value in profile.items():
        age, is_count, value = hour - int(field[1:]), field.startswith(b"n"), float(value)
        for window, n_hours in enumerate(HOURS):
            if age < n_hours:
                if is_count:
                    counts[window] += value
                else:
                    sums[window] += value
    return [*itertools.chain(*zip(counts, sums, distinct)), since]


def run(path, n_events):
    if redis is None:
        raise job.Skip("no Python package redis (pip install -r benches/baseline/requirements.txt)")
    if shutil.which("redis-server") is None:
        raise job.Skip("no redis-server on the PATH (apt install redis-server, brew install redis)")
    events = job.load(path, n_events)
    with server() as client:

        def apply(batch):
            pipeline = client.pipeline(transaction=False)
            for event in batch:
                ask(pipeline, *event)
            answers = iter(pipeline.execute())
            return [vector(time, list(itertools.islice(answers, N_ANSWERS))) for _, time, _, _ in batch]

        before = server_cpu_seconds(client)
        report = job.drive(events, EVENTS_A_ROUND_TRIP, apply)
        report["cpu_seconds"] += server_cpu_seconds(client) - before
        report["versions"] = [
            f"redis-server {client.info('server')['redis_version']}",
            f"redis-py {redis.__version__}",
            f"hiredis {hiredis.__version__}",
        ]
    return report


def server_cpu_seconds(client):
    cpu = client.info("cpu")
    return cpu["used_cpu_user"] + cpu["used_cpu_sys"]


if __name__ == "__main__":
    job.main(__doc__, run)
