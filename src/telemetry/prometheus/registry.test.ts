import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { BoundedValues } from "./bounded-values.ts";
import { Registry } from "./registry.ts";

describe("Registry", () => {
  test("writes counters with help, type and escaped labels", () => {
    const registry = new Registry();
    const calls = registry.counter({
      name: "davit_calls_total",
      help: 'Calls, with a \\ and\na "new" line.',
      labels: ["method", "code"],
    });
    calls.with("A", "OK").add();
    calls.with("A", "OK").add(2);
    calls.with('b"\\\n', "x").add(0.5);
    assert.equal(
      registry.text(),
      [
        '# HELP davit_calls_total Calls, with a \\\\ and\\na "new" line.',
        "# TYPE davit_calls_total counter",
        'davit_calls_total{method="A",code="OK"} 3',
        'davit_calls_total{method="b\\"\\\\\\n",code="x"} 0.5',
        "",
      ].join("\n"),
    );
  });

  test("writes histograms with cumulative buckets, sum and count", () => {
    const registry = new Registry();
    const seconds = registry.histogram(
      { name: "davit_seconds", help: "S.", labels: ["name"] },
      [0.1, 1],
    );
    const histogram = seconds.with("a");
    // A value on a bound is in its bucket; a negative one counts as 0.
    for (const value of [0.05, 0.1, 0.5, 1, 7, -3]) histogram.observe(value);
    assert.equal(
      registry.text(),
      [
        "# HELP davit_seconds S.",
        "# TYPE davit_seconds histogram",
        'davit_seconds_bucket{name="a",le="0.1"} 3',
        'davit_seconds_bucket{name="a",le="1"} 5',
        'davit_seconds_bucket{name="a",le="+Inf"} 6',
        'davit_seconds_sum{name="a"} 8.65',
        'davit_seconds_count{name="a"} 6',
        "",
      ].join("\n"),
    );
    assert.deepEqual([histogram.count, histogram.sum], [6, 8.65]);
  });

  test("writes a histogram without labels", () => {
    const registry = new Registry();
    registry.histogram({ name: "davit_seconds", help: "S." }, [1]).with().observe(2);
    assert.match(registry.text(), /\ndavit_seconds_bucket\{le="1"\} 0\n.*\ndavit_seconds_sum 2\n/);
  });

  test("computes samples at each scrape, with suffixes and fewer labels", () => {
    const registry = new Registry();
    let size = 1;
    registry.computed("gauge", { name: "davit_size", help: "S." }, () => [{ value: size++ }]);
    registry.computed("summary", { name: "davit_delay", help: "D.", labels: ["quantile"] }, () => [
      { value: Number.POSITIVE_INFINITY, labels: ["0.5"] },
      { value: Number.NaN, suffix: "_sum" },
      { value: 1e21, suffix: "_count" },
    ]);
    assert.match(registry.text(), /\ndavit_size 1\n/);
    const text = registry.text();
    assert.match(text, /\ndavit_size 2\n/);
    assert.match(text, /\ndavit_delay\{quantile="0.5"\} \+Inf\ndavit_delay_sum NaN\n/);
    assert.match(text, /\ndavit_delay_count 1e\+21\n/);
  });

  test("leaves out families without a series, and lists all of them by name", () => {
    const registry = new Registry();
    registry.counter({ name: "davit_b_total", help: "B.", labels: ["x"] });
    registry.computed("gauge", { name: "davit_a", help: "A." }, () => []);
    assert.equal(registry.text(), "");
    assert.deepEqual(
      registry.families().map(({ name, type }) => `${name} ${type}`),
      ["davit_a gauge", "davit_b_total counter"],
    );
  });

  test("rejects invalid and known names, and a wrong number of labels", () => {
    const registry = new Registry();
    const family = registry.counter({ name: "davit_a_total", help: "A.", labels: ["x"] });
    assert.throws(() => registry.counter({ name: "davit_a_total", help: "" }), /it exists/);
    assert.throws(() => registry.counter({ name: "davit-a", help: "" }), /"davit-a" is not a name/);
    const labels = ["a b"];
    assert.throws(() => registry.counter({ name: "davit_b", help: "", labels }), /"a b" is not/);
    assert.throws(() => family.with(), /values for the labels x/);
    assert.throws(() => family.with("a", "b"), /values for the labels x/);
  });

  test("cuts long label values, and replaces what is not Unicode", () => {
    const registry = new Registry();
    const family = registry.counter({ name: "davit_a_total", help: "A.", labels: ["x"] });
    family.with("y".repeat(10_000)).add();
    family.with("\ud800").add();
    const lines = registry.text().split("\n");
    assert.equal(lines[2], `davit_a_total{x="${"y".repeat(128)}"} 1`);
    assert.equal(lines[3], 'davit_a_total{x="\ufffd"} 1');
  });
});

describe("BoundedValues", () => {
  test("keeps the first values and replaces the others", () => {
    const values = new BoundedValues(2);
    assert.deepEqual(
      ["a", "b", "a", "c", "b", "d"].map((value) => values.of(value)),
      ["a", "b", "a", "other", "b", "other"],
    );
    assert.deepEqual([values.has("a"), values.has("c")], [true, false]);
  });
});
