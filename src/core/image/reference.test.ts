import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { formatReference, parseReference, shortNameOf } from "./reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

test("parseReference() fills in what people leave out", () => {
  for (const [text, full] of [
    ["busybox", "docker.io/library/busybox:latest"],
    ["busybox:1.37", "docker.io/library/busybox:1.37"],
    ["team/app", "docker.io/team/app:latest"],
    ["docker.io/busybox", "docker.io/library/busybox:latest"],
    ["index.docker.io/busybox", "docker.io/library/busybox:latest"],
    ["localhost/app", "localhost/app:latest"],
    ["localhost:5000/app:v1", "localhost:5000/app:v1"],
    ["registry.k8s.io/e2e/busybox:1.29-2", "registry.k8s.io/e2e/busybox:1.29-2"],
    [`quay.io/a/b@${digest}`, `quay.io/a/b@${digest}`],
    [`quay.io/a/b:v1@${digest}`, `quay.io/a/b@${digest}`],
    ["[::1]:5000/app", "[::1]:5000/app:latest"],
  ] as const) {
    assert.equal(formatReference(parseReference(text)), full, text);
  }
});

test("parseReference() keeps tag and digest apart", () => {
  const reference = parseReference(`quay.io/a/b:v1@${digest}`);
  assert.equal(reference.tag, "v1");
  assert.equal(reference.digest, digest);
});

test("parseReference() refuses an invalid image name", () => {
  for (const text of [
    "",
    "UPPER",
    "a//b",
    "a:b:c",
    "a@sha256:12",
    "a b",
    "-a",
    "a:",
    "http://a/b",
    "../a",
    "[0]/a",
  ]) {
    assert.throws(
      () => parseReference(text),
      (error) => isKind(error, "invalid-argument"),
      JSON.stringify(text),
    );
  }
});

test("parseReference() accepts only names whose full form it accepts, and shows a part of a long one", () => {
  const full = "docker.io/library/";
  const longest = "a".repeat(255 - full.length + 1);
  assert.equal(formatReference(parseReference(`${longest}:1`)), `${full}${longest}:1`);
  assert.throws(() => parseReference(`${longest}a:1`), /longer than 255 characters/);
  assert.throws(
    () => parseReference("/".repeat(1e6)),
    ({ message }: Error) => message.length < 1000,
  );
});

test("shortNameOf() is the path of a name without a host", () => {
  for (const [text, short] of [
    ["app", "app"],
    ["team/app:v1", "team/app"],
    ["a.b/app", undefined],
    ["localhost/app", undefined],
    ["host:5000/app", undefined],
    ["UPPER", undefined],
  ] as const) {
    assert.equal(shortNameOf(text), short, text);
  }
});
