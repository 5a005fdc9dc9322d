import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { HeaderField } from "./hpack/index.ts";
import { areTrailers, parseRequest } from "./request-head.ts";

const method: HeaderField = [":method", "POST"];
const scheme: HeaderField = [":scheme", "http"];
const path: HeaderField = [":path", "/a.B/C"];
const basic = [method, scheme, path];

describe("a request", () => {
  test("has its method, path and headers by name; several of one name are joined", () => {
    const head = parseRequest([...basic, ["te", "trailers"], ["x", "1"], ["y", ""], ["x", "2"]]);
    assert.deepEqual([head?.method, head?.path], ["POST", "/a.B/C"]);
    const values = ["te", "x", "y", "z"].map((name) => head?.get(name));
    assert.deepEqual(values, ["trailers", "1, 2", "", undefined]);
  });

  for (const fields of [
    [...basic, [":authority", ""]],
    [...basic, [":authority", "/run/davit.sock"]],
    [...basic, [":authority", "%2Frun%2Fdavit.sock"]],
    [method, path, [":authority", "localhost"], scheme],
    [...basic, ["x", "a b\tc"]],
    [...basic, ["x", "\u00ff"]],
    [...basic, ["content-length", "5"], ["content-length", "5"]],
    [
      [":method", "CONNECT"],
      [":authority", "x:1"],
    ],
    [[":method", "OPTIONS"], scheme, [":path", "*"]],
  ] as const) {
    test(`is well-formed with ${JSON.stringify(fields.slice(-2))}`, () => {
      assert.ok(parseRequest(fields) !== undefined);
    });
  }

  for (const fields of [
    [],
    [scheme, path],
    [method, path],
    [method, scheme],
    [method, scheme, [":path", ""]],
    [method, scheme, [":path", "*"]],
    [method, scheme, [":path", "a.B/C"]],
    [method, [":scheme", ""], path],
    [[":method", ""], scheme, path],
    [[":method", "PO ST"], scheme, path],
    [...basic, path],
    [...basic, [":status", "200"]],
    [...basic, [":protocol", "websocket"]],
    [method, scheme, ["x", "1"], path],
    [...basic, ["", "1"]],
    [...basic, ["X", "1"]],
    [...basic, ["x y", "1"]],
    [...basic, ["x:y", "1"]],
    [...basic, ["\u00e4", "1"]],
    [...basic, ["x", "a\nb"]],
    [...basic, ["x", "a\rb"]],
    [...basic, ["x", "a\0b"]],
    [...basic, ["x", " a"]],
    [...basic, ["x", "a\t"]],
    [...basic, ["connection", "close"]],
    [...basic, ["keep-alive", "5"]],
    [...basic, ["proxy-connection", "x"]],
    [...basic, ["transfer-encoding", "chunked"]],
    [...basic, ["upgrade", "h2c"]],
    [...basic, ["te", "gzip"]],
    [...basic, ["content-length", "-1"]],
    [...basic, ["content-length", "1e3"]],
    [...basic, ["content-length", "5"], ["content-length", "6"]],
    [[":method", "CONNECT"], path, [":authority", "x:1"]],
    [[":method", "CONNECT"]],
  ] as const) {
    test(`is malformed with ${JSON.stringify(fields.slice(-2))}`, () => {
      assert.equal(parseRequest(fields), undefined);
    });
  }
});

test("trailers have no pseudo-headers and nothing about a connection", () => {
  assert.ok(areTrailers([["x-end", "1"]]));
  assert.ok(areTrailers([]));
  for (const field of [path, ["connection", "x"], ["X", "1"], ["x", "a\n"]] as const) {
    assert.ok(!areTrailers([field]));
  }
});
