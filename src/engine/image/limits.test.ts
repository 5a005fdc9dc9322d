import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Digest } from "../../base/digest.ts";
import type { Descriptor } from "../../core/image/index.ts";
import {
  checkLayerCount,
  checkUnpackedBytes,
  type ImageLimits,
  limitsOfLayer,
  ratioCountsFromBytes,
} from "./limits.ts";

const GIB = 2 ** 30;
const none: ImageLimits = { layers: 500, unpackedBytes: 0, unpackedRatio: 0, layerEntries: 0 };

function blobOf(bytes: number): Descriptor {
  return { mediaType: "any", digest: `sha256:${"a".repeat(64)}`, sizeBytes: BigInt(bytes) };
}

function diffIds(count: number): readonly Digest[] {
  return Array.from({ length: count }, (_, at) => {
    return `sha256:${String(at).padStart(64, "0")}` as const;
  });
}

describe("checkLayerCount()", () => {
  test("accepts as many as the limit, and counts duplicates once", () => {
    checkLayerCount(diffIds(500), none);
    checkLayerCount([...diffIds(500), ...diffIds(500)], none);
    checkLayerCount([], { ...none, layers: 1 });
  });

  test("rejects one more, with number, limit and setting", () => {
    assert.throws(() => checkLayerCount(diffIds(501), none), {
      kind: "failed-precondition",
      message: "it has 501 layers, more than images.max_layers = 500: build it with fewer layers",
    });
  });
});

describe("checkUnpackedBytes()", () => {
  test("rejects what exceeds the limit, and nothing without one", () => {
    checkUnpackedBytes(10, { ...none, unpackedBytes: 10 });
    checkUnpackedBytes(Number.MAX_SAFE_INTEGER, none);
    assert.throws(() => checkUnpackedBytes(11, { ...none, unpackedBytes: 10 }), {
      kind: "failed-precondition",
      message: "its layers have 11 bytes, more than images.max_unpacked_bytes = 10",
    });
  });
});

describe("limitsOfLayer()", () => {
  test("are empty without settings", () => {
    assert.deepEqual(limitsOfLayer(none, blobOf(1), 0), {});
  });

  test("apply the ratio only from 16 GiB on", () => {
    const limits = { ...none, unpackedRatio: 100 };
    const most = (blob: number): number | undefined =>
      limitsOfLayer(limits, blobOf(blob), 0).bytes?.most;
    assert.equal(most(1), ratioCountsFromBytes);
    assert.equal(most(GIB / 8), ratioCountsFromBytes);
    assert.equal(most(GIB), 100 * GIB);
    assert.equal(
      limitsOfLayer(limits, blobOf(1), 0).bytes?.why,
      "17179869184 bytes for a blob of 1 bytes (images.max_unpacked_ratio = 100)",
    );
  });

  test("subtract the bytes of other layers, down to 0", () => {
    const limits = { ...none, unpackedBytes: 1000 };
    assert.deepEqual(limitsOfLayer(limits, blobOf(1), 0).bytes, {
      most: 1000,
      why: "the image's images.max_unpacked_bytes = 1000 bytes",
    });
    assert.deepEqual(limitsOfLayer(limits, blobOf(1), 400).bytes, {
      most: 600,
      why: "the image's images.max_unpacked_bytes = 1000 bytes, of which other layers have 400",
    });
    assert.equal(limitsOfLayer(limits, blobOf(1), 1001).bytes?.most, 0);
  });

  test("have the smaller one of two limits", () => {
    const limits = { ...none, unpackedBytes: 20 * GIB, unpackedRatio: 100 };
    assert.match(limitsOfLayer(limits, blobOf(1), 0).bytes?.why ?? "", /max_unpacked_ratio/);
    assert.match(limitsOfLayer(limits, blobOf(GIB), 0).bytes?.why ?? "", /max_unpacked_bytes/);
  });

  test("explain the limit of entries with number and setting", () => {
    assert.deepEqual(limitsOfLayer({ ...none, layerEntries: 7 }, blobOf(1), 0), {
      entries: { most: 7, why: "images.max_layer_entries = 7 entries" },
    });
  });
});
