"""Run with pm4py on PYTHONPATH: prints which event directly follows which in the orders of an OCEL 2.0 file."""

from __future__ import annotations

import json
import sys

import pm4py

ocel = pm4py.read_ocel2_json(sys.argv[1])
graph, starts, ends = pm4py.discover_dfg(pm4py.ocel_flattening(ocel, "order"))
types = {kind: int(count) for kind, count in ocel.objects["ocel:type"].value_counts().items()}
follows = [[*pair, int(count)] for pair, count in graph.items()]
found = {"follows": follows, "starts": list(starts), "ends": list(ends), "events": len(ocel.events), "objects": types}
print(json.dumps(found))
