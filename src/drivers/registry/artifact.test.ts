import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import type { Digest } from "../../base/digest.ts";
import { type ImageManifest, parseManifest } from "./manifest.ts";

const digestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`;
const ociManifest = "application/vnd.oci.image.manifest.v1+json";
const imageConfig = "application/vnd.oci.image.config.v1+json";
const imageLayer = "application/vnd.oci.image.layer.v1.tar+gzip";
const title = "org.opencontainers.image.title";

const descriptor = (mediaType: string, more: object = {}): object => ({
  mediaType,
  digest: digestOf("a"),
  size: 1,
  ...more,
});
const file = (annotations: object, digit = "b"): object =>
  descriptor("application/octet-stream", { digest: digestOf(digit), annotations });

const empty = descriptor("application/vnd.oci.empty.v1+json", { data: "e30=" });

function parse(manifest: object): ImageManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...manifest }));
  const parsed = parseManifest(bytes, ociManifest);
  assert.equal(parsed.kind, "manifest");
  return parsed;
}

describe("parseManifest() of a checkpoint", () => {
  const image = { config: descriptor(imageConfig), layers: [descriptor(imageLayer)] };

  test("takes the name of its container from its annotations", () => {
    for (const key of [
      "org.criu.checkpoint.container.name",
      "checkpointctl.annotation.checkpoint.name",
      "io.kubernetes.cri-o.annotations.checkpoint.name",
      "io.podman.annotations.checkpoint.name",
    ]) {
      assert.equal(parse({ ...image, annotations: { [key]: "db" } }).checkpointOf, "db");
    }
    const key = "org.criu.checkpoint.container.name";
    const long = parse({ ...image, annotations: { [key]: `\u001b${"x".repeat(5_000)}` } });
    assert.equal(long.checkpointOf, `\ufffd${"x".repeat(254)}`);
    assert.equal(parse({ ...image, annotations: { [key]: 1 } }).checkpointOf, "");
  });

  test("is an image without one of them", () => {
    for (const annotations of [undefined, null, "x", {}, { "org.criu.checkpoint.pod.name": "p" }]) {
      assert.ok(!("checkpointOf" in parse({ ...image, annotations })));
    }
  });
});

describe("parseManifest() of an artifact", () => {
  test("names its files by title, by the model's file path, or by digest", () => {
    const { artifact, layers } = parse({
      artifactType: "application/vnd.test.model",
      config: empty,
      layers: [
        file({ [title]: "weights.bin" }, "b"),
        file({ "org.cncf.model.filepath": "deep/./er//config.json" }, "c"),
        file({}, "d"),
        file({ [title]: "./deep/\u00fc \u{1f600}" }, "e"),
        empty,
        file({ [title]: "weights.bin" }, "b"),
      ],
    });
    assert.deepEqual(artifact, {
      type: "application/vnd.test.model",
      paths: [
        "weights.bin",
        "deep/er/config.json",
        `sha256-${"d".repeat(64)}`,
        "deep/\u00fc \u{1f600}",
      ],
    });
    assert.deepEqual(
      layers.map(({ digest }) => digest),
      ["b", "c", "d", "e"].map(digestOf),
    );
  });

  test("is what has no image config, or layers that no image has", () => {
    const cases: readonly (readonly [object, string | undefined])[] = [
      [{ config: empty, layers: [] }, "application/vnd.oci.empty.v1+json"],
      [
        { config: descriptor("application/vnd.cncf.helm.config.v1+json"), layers: [] },
        "application/vnd.cncf.helm.config.v1+json",
      ],
      [{ artifactType: "x/y", config: descriptor(imageConfig), layers: [file({})] }, "x/y"],
      [
        { artifactType: "x/y", config: descriptor(imageConfig), layers: [descriptor(imageLayer)] },
        undefined,
      ],
      [
        { config: { ...descriptor(""), mediaType: undefined }, layers: [descriptor(imageLayer)] },
        undefined,
      ],
    ];
    for (const [manifest, type] of cases) {
      assert.equal(parse(manifest).artifact?.type, type, JSON.stringify(manifest));
    }
  });

  test("shows a type that its author made up without control characters and shortened", () => {
    const { artifact } = parse({
      artifactType: `a\u001b[31m${"b".repeat(1000)}`,
      config: empty,
      layers: [],
    });
    assert.match(artifact?.type ?? "", /^a\ufffd\[31mb{200,}\.\.\.$/);
    assert.ok((artifact?.type.length ?? 0) < 300);
  });

  const refused: Readonly<Record<string, readonly [unknown, RegExp]>> = {
    "an absolute path": ["/etc/passwd", /"\/etc\/passwd", which begins with \//],
    "a path that leads out": ["a/../../b", /leads out/],
    dots: ["..", /leads out/],
    nothing: ["", /is empty/],
    "only slashes and dots": ["./.", /is empty/],
    "a NUL": ["a\0b", /"a\\u0000b", which has a control character/],
    "a newline": ["a\nb", /control character/],
    "half of a surrogate pair": ["a\ud800", /control character/],
    "a whiteout": ["a/.wh.b", /begins with \.wh\./],
    "a name of 256 bytes": ["\u00fc".repeat(128), /more than 255 bytes/],
    "a path of 1,025 characters": ["a/".repeat(513), /longer than 1024/],
    "a number": [7, /which is not a text/],
  };
  for (const [what, [value, text]] of Object.entries(refused)) {
    test(`refuses ${what} as title`, () => {
      refuses(
        { config: empty, layers: [file({ [title]: value })] },
        /layers\[0\] has the title/,
        text,
      );
    });
  }

  test("refuses files in each other's place", () => {
    const two = (first: string, second: string): object => ({
      config: empty,
      layers: [file({ [title]: first }, "b"), file({ [title]: second }, "c")],
    });
    refuses(two("a", "./a"), /layers\[1\] has the title "a", which is also the name of another/);
    refuses(two("a/b/c", "a/b"), /"a\/b\/c", which is below the file "a\/b"/);
  });
});

function refuses(manifest: object, ...texts: readonly RegExp[]): void {
  assert.throws(
    () => parse(manifest),
    (error) => {
      assert.ok(error instanceof RuntimeError);
      assert.equal(error.kind, "data-loss");
      for (const text of texts) assert.match(error.message, text);
      return true;
    },
  );
}
