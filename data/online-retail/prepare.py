#!/usr/bin/env python3
"""Turns the UCI Online Retail invoice lines into tipoff's event file.

    ./prepare.py online_retail.csv[.zst] [events.csv.zst]

The rules are in README.md beside this file. Needs Python 3.9 or newer with a
time zone database, and the `zstd` command; the same input gives the same
events.csv.
"""

import collections
import csv
import datetime
import io
import re
import subprocess
import sys
import zoneinfo
from decimal import ROUND_HALF_EVEN, Decimal

LONDON = zoneinfo.ZoneInfo("Europe/London")
PENCE = Decimal("0.01")
COLUMNS = ["user_id", "type", "time", "event_id", "value", "items", "products", "mean_price",
           "max_price", "top_product:text", "country"]
# Products have codes of five digits with at most a few letters behind them;
# the others are postage, discounts, fees, samples and corrections by hand.
PRODUCT = re.compile(r"[0-9]{5}[A-Za-z]*")


def main():
    source = sys.argv[1]
    target = sys.argv[2] if len(sys.argv) > 2 else "events.csv.zst"
    counts = collections.Counter()
    invoices = collections.defaultdict(list)
    for line in read(source):
        counts["lines"] += 1
        if not line["CustomerID"]:
            counts["lines without a customer"] += 1
        elif not PRODUCT.fullmatch(line["StockCode"]):
            counts["lines without a product"] += 1
        else:
            invoices[line["InvoiceNo"], line["CustomerID"]].append(line)

    ambiguous = collections.Counter(invoice for invoice, _ in invoices)
    events = []
    for (invoice, customer), lines in invoices.items():
        event = to_event(invoice, customer, lines)
        if ambiguous[invoice] > 1:
            event["event_id"] += "-" + customer
        if event["value"] > 0:
            events.append(event)
            counts[event["type"]] += 1
        else:
            counts["invoices of no value"] += 1
    events.sort(key=lambda event: (event["time"], event["event_id"]))
    write(target, events)

    counts["events"] = len(events)
    counts["customers"] = len({event["user_id"] for event in events})
    for name, count in counts.items():
        print(f"{name}: {count}")
    print(f"span: {events[0]['time']} to {events[-1]['time']}")
    for kind in ("purchase", "return"):
        total = sum(event["value"] for event in events if event["type"] == kind)
        print(f"value of {kind}s: {total}")


def to_event(invoice, customer, lines):
    cancelled = invoice.startswith("C")
    sign = -1 if cancelled else 1
    value_of = collections.Counter()
    items = 0
    for line in lines:
        quantity = sign * int(line["Quantity"])
        items += quantity
        value_of[line["StockCode"]] += quantity * Decimal(line["UnitPrice"])
    value = sum(value_of.values())
    local = min(datetime.datetime.fromisoformat(line["InvoiceDate"]) for line in lines)
    utc = local.replace(tzinfo=LONDON).astimezone(datetime.timezone.utc)
    return {
        "user_id": customer,
        "type": "return" if cancelled else "purchase",
        "time": utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "event_id": invoice,
        "value": pence(value),
        "items": items,
        "products": len(value_of),
        "mean_price": pence(value / items) if items else "",
        "max_price": pence(max(Decimal(line["UnitPrice"]) for line in lines)),
        "top_product:text": max(value_of, key=lambda code: (value_of[code], code)),
        "country": lines[0]["Country"],
    }


def pence(amount):
    return amount.quantize(PENCE, ROUND_HALF_EVEN)


def read(path):
    if path.endswith(".zst"):
        with subprocess.Popen(["zstd", "-dc", path], stdout=subprocess.PIPE) as zstd:
            yield from csv.DictReader(io.TextIOWrapper(zstd.stdout, encoding="utf-8", newline=""))
        if zstd.returncode:
            sys.exit(f"zstd -dc {path} failed")
    else:
        with open(path, encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def write(path, events):
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(events)
    command = ["zstd", "-19", "--ultra", "-q", "-f", "-o", path]
    subprocess.run(command, input=text.getvalue().encode(), check=True)


if __name__ == "__main__":
    main()
