import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";

import { Decision, ExplainResponseSchema } from "../../gen/davit/v1/pull_pb.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";
import { formatExplanation } from "./explain-pulls.ts";

const format = (explained: MessageInitShape<typeof ExplainResponseSchema>): string =>
  formatExplanation(create(ExplainResponseSchema, explained), {
    style: recordedTerminal().style,
    width: () => undefined,
  });

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const registry = {
  name: "x.test",
  root: "https://x.test/v2",
  repository: "app",
  capabilities: ["pull", "resolve", "push"],
  source: "default",
  credentials: "none",
};

test("formatExplanation() shows hosts, layers and what would be fetched", () => {
  const mirror = {
    ...registry,
    root: "http://mirror.test:5000/v2",
    capabilities: ["pull"],
    mirror: true,
    insecure: true,
    avoided: true,
    source: "/etc/containers/registries.conf",
    credentials: 'password of "/etc/davit/docker.json" for "mirror.test:5000"',
  };
  const text = format({
    name: "x.test/app:v1",
    hosts: [mirror, registry],
    digest: digest("a"),
    configDigest: digest("c"),
    present: true,
    platform: { chosen: "linux/amd64", offered: ["linux/amd64", "linux/arm64/v8"] },
    layers: [
      { digest: digest("1"), sizeBytes: 2_000_000n, decision: Decision.GRANTED },
      { digest: digest("2"), sizeBytes: 3_000_000n, decision: Decision.MISSING },
    ],
    fetchBytes: 3_000_000n,
    estimatedDiskBytes: 9_000_000n,
  });
  assert.deepEqual(text.split("\n"), [
    "image     x.test/app:v1",
    "platform  linux/amd64, of linux/amd64, linux/arm64/v8",
    `digest    ${digest("a")}`,
    `image id  ${digest("c")}, on this node already`,
    "",
    "HOST                          FOR                                                             CREDENTIALS                                                   CONFIGURED IN",
    'http://mirror.test:5000/app   mirror, not for tags, insecure, asked last, it did not answer   password of "/etc/davit/docker.json" for "mirror.test:5000"   /etc/containers/registries.conf',
    "https://x.test/app            registry                                                        none                                                          default",
    "",
    "LAYER           SIZE   PULL",
    "111111111111   2.0MB   use: on this node, and granted by the registry",
    "222222222222   3.0MB   fetch: not on this node",
    "",
    "To fetch: 1 layer, 3.0MB; about 9.0MB more on the disk.",
    "",
  ]);
});

test("formatExplanation() ends with the error, without control characters", () => {
  const error = { kind: "unauthenticated", message: "answered 401\u001b[1m" };
  const text = format({ name: "x.test/app:v1", hosts: [registry], error });
  assert.match(text, /\n\nA pull would fail: answered 401[^\u001b]*\n$/);
  assert.match(format({ name: "x.test/app:v1" }), /Nothing to fetch/);
});
