import assert from "node:assert/strict";
import { test } from "node:test";
import { type FoundSignature, parseReference } from "../../core/image/index.ts";
import { anySignal, RegistryFixture } from "./testing/registry-fixture.ts";
import {
  type Content,
  digestOf,
  ociIndex,
  ociManifest,
  type Script,
  type ScriptedRegistry,
  serve,
  tinyImage,
} from "./testing/scripted-registry.ts";
import type { Registry } from "./registry.ts";

const fixture = new RegistryFixture();
const { client, fails, server } = fixture;

const image = tinyImage("app");
const target = digestOf(image.manifest);
const dash = target.replace(":", "-");
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";
const simpleType = "application/vnd.dev.cosign.simplesigning.v1+json";

interface Layer {
  readonly bytes: Buffer;
  readonly mediaType?: string;
  readonly annotations?: object;
  readonly size?: number;
}

/** A manifest with signatures at a tag or digest, and its blobs. */
function signatures(at: string, layers: readonly Layer[]): Record<string, Content> {
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      layers: layers.map(({ bytes, mediaType = simpleType, annotations, size }) => ({
        mediaType,
        digest: digestOf(bytes),
        size: size ?? bytes.length,
        annotations,
      })),
    }),
  );
  const name = at === "" ? digestOf(manifest) : at;
  const blobs = layers.map(({ bytes }) => {
    const content = { bytes, type: "application/octet-stream" };
    return [`/v2/app/blobs/${digestOf(bytes)}`, content] as const;
  });
  return {
    [`/v2/app/manifests/${name}`]: { bytes: manifest, type: ociManifest },
    ...Object.fromEntries(blobs),
  };
}

/** A list of referrers to manifests with signatures. */
function referrers(
  path: string,
  manifests: readonly Record<string, Content>[],
  artifactType = bundleType,
): Record<string, Content> {
  const entries = manifests.map((contents) => {
    const [manifest] = Object.values(contents);
    const bytes = manifest?.bytes ?? Buffer.alloc(0);
    const common = { mediaType: ociManifest, digest: digestOf(bytes), size: bytes.length };
    return { ...common, artifactType };
  });
  const others = [{ mediaType: ociManifest, digest: target, size: 1, artifactType: "sbom" }, 7];
  const bytes = Buffer.from(JSON.stringify({ manifests: [...others, ...entries] }));
  return Object.assign({ [path]: { bytes, type: ociIndex } }, ...manifests) as Record<
    string,
    Content
  >;
}

function find(
  host: ScriptedRegistry,
  registry: Registry,
  signal = anySignal,
): Promise<readonly FoundSignature[]> {
  const descriptor = { mediaType: ociManifest, digest: target, sizeBytes: 1n };
  const reference = parseReference(`${host.host}/app:v1`);
  const source = registry.signaturesOf(
    { reference, target: descriptor, manifest: descriptor },
    undefined,
  );
  return source.signatures(signal);
}

test("signatures are found at cosign's tag, with their annotations", async () => {
  const annotations = {
    "dev.cosignproject.cosign/signature": "c2ln",
    "dev.sigstore.cosign/certificate": "cert",
    "dev.sigstore.cosign/chain": "chain",
    "dev.sigstore.cosign/bundle": "{}",
    "dev.sigstore.cosign/rfc3161timestamp": "[]",
    other: 1,
  };
  const payload = Buffer.from("payload");
  const host = await server(
    serve(
      signatures(`${dash}.sig`, [
        { bytes: payload, annotations },
        { bytes: Buffer.from("x"), mediaType: "text/plain" },
      ]),
    ),
  );
  const [found, ...rest] = await find(host, client());
  assert.equal(rest.length, 0);
  assert.deepEqual(found && { ...found, payload: String("payload" in found && found.payload) }, {
    kind: "simple-signing",
    of: target,
    digest: digestOf(payload),
    payload: "payload",
    signature: "c2ln",
    certificate: "cert",
    chain: "chain",
    rekorBundle: "{}",
    timestamp: "[]",
  });
});

const atTag = `/v2/app/manifests/${dash}`;
for (const [how, path, type] of [
  ["the referrers API", `/v2/app/referrers/${target}`, bundleType],
  ["the tag of a registry without that API", atTag, bundleType],
  ["that tag, as cosign 2.5 writes it", atTag, "application/vnd.oci.empty.v1+json"],
] as const) {
  test(`bundles are found by ${how}`, async () => {
    const bundle = Buffer.from('{"bundle":1}');
    const one = signatures("", [{ bytes: bundle, mediaType: bundleType }]);
    const host = await server(serve(referrers(path, [one], type)));
    const found = await find(host, client());
    assert.deepEqual(found, [
      { kind: "bundle", of: target, digest: digestOf(bundle), json: '{"bundle":1}' },
    ]);
  });
}

test("a bundle that signs the manifest's bytes gets these", async () => {
  const bundle = Buffer.from('{"messageSignature":{}}');
  const one = signatures("", [{ bytes: bundle, mediaType: bundleType }]);
  const content = { ...image.content, ...referrers(`/v2/app/referrers/${target}`, [one]) };
  const host = await server(serve(content));
  const [found] = await find(host, client());
  assert.deepEqual(found?.kind === "bundle" && Buffer.from(found.artifact ?? ""), image.manifest);
});

test("an image without signatures has none", async () => {
  const host = await server(serve(image.content));
  assert.deepEqual(await find(host, client()), []);
});

test("signatures that are too large are left out, and of many the newest are read", async () => {
  const many = Array.from({ length: 1000 }, (_, at) => ({ bytes: Buffer.from(`payload ${at}`) }));
  const large = [{ bytes: Buffer.alloc(70_000) }, { bytes: Buffer.from("lie"), size: 1e15 }];
  const host = await server(serve(signatures(`${dash}.sig`, [...many, ...large])));
  const found = await find(host, client());
  assert.equal(found.length, 62);
  const last = found.at(-1);
  assert.equal(last?.kind === "simple-signing" && String(last.payload), "payload 999");
  // A bound for all of them together.
  const few = await find(host, client({ signatures: { bytes: 30 } }));
  assert.ok(few.length > 0 && few.length < 5, String(few.length));
});

test("what is not what its digest says, and what is not JSON, is an error", async () => {
  const layers = [{ bytes: Buffer.from("payload") }];
  const content = signatures(`${dash}.sig`, layers);
  const blob = `/v2/app/blobs/${digestOf(Buffer.from("payload"))}`;
  const changed = { ...content, [blob]: { bytes: Buffer.from("changed"), type: "x/y" } };
  await fails(find(await server(serve(changed)), client()), "data-loss", /digest/);
  const garbage = { [`/v2/app/manifests/${dash}.sig`]: { bytes: Buffer.from("["), type: "x/y" } };
  await fails(find(await server(serve(garbage)), client()), "data-loss", /not a JSON object/);
});

test("a registry that never answers for referrers ends the search in time", async () => {
  const content = signatures(`${dash}.sig`, [{ bytes: Buffer.from("payload") }]);
  const hanging =
    (others: Script): Script =>
    (seen, response, request) => {
      if (!seen.url.includes("/referrers/")) return others(seen, response, request);
      return undefined;
    };
  const registry = client({ signatures: { timeoutMs: 2000 } });
  const none = await server(hanging(serve({})));
  await fails(find(none, registry), "unavailable", /^RegistryUnavailable: find signatures of/);
  // What was found meanwhile counts.
  const some = await server(hanging(serve(content)));
  assert.equal((await find(some, registry)).length, 1);
});

test("further pages of referrers are read, of the same path only", async () => {
  const one = signatures("", [{ bytes: Buffer.from("{}"), mediaType: bundleType }]);
  const path = `/v2/app/referrers/${target}`;
  const content = referrers(path, [one]);
  const host = await server((seen, response, request) => {
    if (seen.url === path) {
      const link = `<http://other.invalid/elsewhere?page=2>; rel="next"`;
      response.writeHead(200, { "content-type": ociIndex, link });
      return void response.end('{"manifests":[]}');
    }
    return serve(content)(seen, response, request);
  });
  assert.equal((await find(host, client())).length, 1);
  assert.ok(host.asked.includes(`GET ${path}?page=2`));
});
