"""A dict of users, and for each window a deque: exact, in process, in order only."""

from collections import defaultdict, deque

import job


class Window:
    __slots__ = ("length", "entries", "sum", "items")

    def __init__(self, length):
        self.length, self.entries, self.sum, self.items = length, deque(), 0.0, {}

    def add(self, time, item, value):
        entries, items = self.entries, self.items
        entries.append((time, item, value))
        self.sum += value
        items[item] = items.get(item, 0) + 1
        horizon = time - self.length
        while entries[0][0] <= horizon:
            _, item, value = entries.popleft()
            self.sum -= value
            if items[item] == 1:
                del items[item]
            else:
                items[item] -= 1


class User:
    __slots__ = ("windows", "last")

    def __init__(self):
        self.windows, self.last = [Window(length) for length in job.WINDOWS.values()], None

    def add(self, time, item, value):
        for window in self.windows:
            window.add(time, item, value)
        self.last = time

    def read(self, now):
        vector = []
        for window in self.windows:
            vector += (len(window.entries), window.sum, len(window.items))
        vector.append(now - self.last)
        return vector


def run(path, n_events):
    users = defaultdict(User)

    def apply(batch):
        vectors = []
        for user, time, item, value in batch:
            user = users[user]
            user.add(time, item, value)
            vectors.append(user.read(time))
        return vectors

    return job.drive(job.load(path, n_events), 1_000, apply)


if __name__ == "__main__":
    job.main(__doc__, run)
