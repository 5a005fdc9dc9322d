import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { entriesOf, fieldsOf, itemsOf, parseStrictJson, textOf } from "./strict-json.ts";

const parse = (text: string) => parseStrictJson(text, '"/etc/policy.json"');

describe("parseStrictJson()", () => {
  test("returns the value", () => {
    assert.deepEqual(parse('{"a": {"b": [1, {"b": "}{:,\\""}]}, "b": null}').value, {
      a: { b: [1, { b: '}{:,"' }] },
      b: null,
    });
  });

  test("refuses a key that an object has twice, also in another spelling", () => {
    for (const text of [
      '{"a": 1, "a": 2}',
      '{"x": [{"a": {}, "\\u0061": {}}]}',
      '{"a": {"b": 1}, "c": [1], "a": {}}',
    ]) {
      assert.throws(() => parse(text), /read "\/etc\/policy.json": it has the key "a" twice/);
    }
    assert.deepEqual(parse('[{"a": 1}, {"a": 1}]').value, [{ a: 1 }, { a: 1 }]);
    assert.deepEqual(parse('{"a": {"a": "a"}, "b": ["a", "a"]}').where, '"/etc/policy.json"');
  });

  test("refuses what is not JSON", () => {
    assert.throws(() => parse("{'a': 1}"), /read "\/etc\/policy.json": it is not JSON/);
    assert.throws(() => parse('{"a": 1} {}'), /it is not JSON/);
    assert.throws(() => parse(""), /it is not JSON/);
  });
});

test("readers of values name the place", () => {
  const json = parse('{"transports": {"docker": {"x.test/a": [{"type": ""}]}}, "list": []}');
  const { transports, list } = fieldsOf(json, ["transports", "list"]);
  assert.ok(transports !== undefined && list !== undefined);
  assert.throws(() => itemsOf(list), /read "\/etc\/policy.json": list: it must be a list/);
  assert.throws(() => fieldsOf(json, ["list"]), /must not have the key "transports", only "list"/);
  const [, docker] = entriesOf(transports)[0] ?? [];
  assert.ok(docker !== undefined);
  const [, scope] = entriesOf(docker)[0] ?? [];
  assert.ok(scope !== undefined);
  const [first] = itemsOf(scope);
  assert.ok(first !== undefined);
  const { type } = fieldsOf(first, ["type"]);
  assert.ok(type !== undefined);
  assert.throws(
    () => textOf(type),
    /read "\/etc\/policy.json": transports.docker."x.test\/a"\[0\].type: it must be a text/,
  );
  assert.throws(() => entriesOf(list), /list: it must be an object/);
});
