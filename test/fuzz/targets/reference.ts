/** Names of images, in requests, manifests of Pods and archives, and the patterns that are matched with them. */
import assert from "node:assert/strict";

import fc from "fast-check";

import { formatReference, parseReference, shortNameOf } from "../../../src/core/image/index.ts";
import {
  matchesImage,
  parseImagePattern,
} from "../../../src/drivers/registry/node-credentials/match-image.ts";
import { attempt, type FuzzTarget, textSeeds } from "../target.ts";

const digest = `sha256:${"a".repeat(64)}`;
const part = fc.stringMatching(/^[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3})?$/);
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const host = fc.constantFrom(
  "",
  "docker.io/",
  "index.docker.io/",
  "r.example/",
  "r:5000/",
  "[::1]:5/",
  "UP/",
);
const suffix = fc.constantFrom("", ":1", ":latest", `@${digest}`, `:1@${digest}`, ":", "@sha256:1");

export const target: FuzzTarget = {
  name: "reference",
  seeds: () =>
    textSeeds(
      "busybox",
      "library/busybox:1.37",
      "registry.example:5000/team/app",
      `registry.example/app:1@${digest}`,
      "localhost/a__b/c-d",
      "[fe80::1]:5000/x",
      "*.registry.example:5000/team",
    ),
  words: ["docker.io/", "index.", ":5000/", `@${digest}`, "__", "--", "*.", "localhost"],
  structured: fc.tuple(host, path, suffix).map((parts) => Buffer.from(parts.join(""))),
  check: (input) => {
    const text = input.toString("utf8");
    const found = attempt(["invalid-argument"], () => parseReference(text));
    const short = shortNameOf(text);
    const pattern = parseImagePattern(text);
    if (pattern !== undefined) matchesImage(pattern, text);
    if (found === undefined) return;
    const { registry, repository, tag, digest: named } = found;
    assert.ok(registry.length + repository.length <= 255 + "library/".length);
    assert.doesNotMatch(
      `${registry}/${repository}`,
      /\.\.|\/\/|[^\w./:[\]-]/,
      "it would change the path of a URL",
    );
    // The one spelling means the same.
    const again = parseReference(formatReference(found));
    assert.deepEqual(again, {
      registry,
      repository,
      tag: named === undefined ? tag : undefined,
      digest: named,
    });
    if (short !== undefined) assert.equal(registry, "docker.io");
  },
};
