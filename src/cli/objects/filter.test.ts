import assert from "node:assert/strict";
import { test } from "node:test";
import type { Call } from "../command-line/command.ts";
import { Options } from "../command-line/options.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";
import { readFilter, stateFilter } from "./filter.ts";

function call(...filters: string[]): Call {
  const given = new Map(filters.length === 0 ? [] : [["filter", filters]]);
  const options = new Options(given, (message) => new Error(message));
  return { options, operands: [], terminal: recordedTerminal(), version: "" };
}

const web = { id: "abc1", name: "web-1", namespace: "default", labels: { app: "web", empty: "" } };

test("readFilter() filters as docker ps --filter", () => {
  for (const [filters, expected] of [
    [[], true],
    [["name=web"], true],
    [["name=^eb"], false],
    [["label=app"], true],
    [["label=app=web", "label=empty"], true],
    [["label=app=other"], false],
    [["label=none"], false],
    [["id=abc"], true],
    [["id=bc"], false],
    [["status=running", "name=web"], true],
  ] as const) {
    assert.equal(readFilter(call(...filters))(web), expected, filters.join(" "));
  }
  assert.throws(() => readFilter(call("ancestor=x")), /must be one of status=\.\.\., label=/);
  assert.throws(() => readFilter(call("name")), /"--filter" is "name": must be one of/);
  assert.throws(() => readFilter(call("name=(")), /must be a regular expression/);
});

test("stateFilter() returns the state of --filter, if it is one", () => {
  const states = ["running", "exited"] as const;
  assert.equal(stateFilter(call(), states), undefined);
  assert.equal(stateFilter(call("status=exited"), states), "exited");
  assert.throws(() => stateFilter(call("status=paused"), states), /must be one of running, exited/);
});
