import assert from "node:assert/strict";
import { test } from "node:test";
import { Access, isFromElsewhere, isLoopback, isOwnHost, isOwnOrigin } from "./access.ts";

test("Access opens a session for its token only", () => {
  const access = new Access(8080);
  assert.ok(Buffer.from(access.token, "base64url").length * 8 >= 128);
  for (const wrong of ["", access.token.slice(1), `${access.token}x`, "x".repeat(100_000)]) {
    assert.equal(access.open(wrong), undefined);
  }
  const cookie = access.open(access.token) ?? "";
  assert.match(cookie, /^davit-ui-8080=[\w-]{32}; HttpOnly; SameSite=Strict; Path=\/$/);
  const [pair = ""] = cookie.split(";");
  assert.ok(!pair.includes(access.token), "the cookie is not the token");
  assert.ok(access.isOpen({ cookie: pair }));
  assert.ok(access.isOpen({ cookie: `a=1; ${pair}; b=2` }));
  for (const wrong of [undefined, "", `${pair}x`, pair.slice(0, -1), "davit-ui-8080="]) {
    assert.ok(!access.isOpen(wrong === undefined ? {} : { cookie: wrong }), wrong);
  }
});

test("Access keeps the newest sessions", () => {
  const access = new Access(1);
  const pairs = Array.from({ length: 17 }, () => access.open(access.token)?.split(";")[0] ?? "");
  assert.deepEqual(
    pairs.map((cookie) => access.isOpen({ cookie })),
    pairs.map((_, at) => at > 0),
  );
});

test("isOwnHost() accepts addresses of the server and localhost, but no other names", () => {
  const own = { host: "127.0.0.1", port: 8080 };
  for (const host of ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080"]) {
    assert.ok(isOwnHost(host, own), host);
  }
  for (const host of [
    undefined,
    "",
    "127.0.0.1",
    "127.0.0.1:8081",
    "127.0.0.2:8080",
    "evil.test:8080",
    "localhost.evil.test:8080",
    "127.0.0.1.nip.io:8080",
    "a@127.0.0.1:8080",
    "[::1]:8080",
  ]) {
    assert.ok(!isOwnHost(host, own), host);
  }
  assert.ok(isOwnHost("[::1]:1", { host: "::1", port: 1 }));
  assert.ok(isOwnHost("192.0.2.7:1", { host: "0.0.0.0", port: 1 }));
  assert.ok(!isOwnHost("node.test:1", { host: "0.0.0.0", port: 1 }));
  assert.ok(isOwnHost("127.0.0.1", { host: "127.0.0.1", port: 80 }));
});

test("isOwnOrigin() accepts the page's own origin only", () => {
  const host = "127.0.0.1:8080";
  assert.ok(isOwnOrigin({ host, origin: "http://127.0.0.1:8080" }));
  for (const origin of ["null", "http://127.0.0.1:9090", "https://127.0.0.1:8080", "http://evil"]) {
    assert.ok(!isOwnOrigin({ host, origin }), origin);
  }
  assert.ok(!isOwnOrigin({ host }));
});

test("isFromElsewhere() goes by what the browser says", () => {
  const from = (site: string): boolean => isFromElsewhere({ "sec-fetch-site": site });
  assert.deepEqual(["same-origin", "none", "same-site", "cross-site"].map(from), [
    false,
    false,
    true,
    true,
  ]);
  assert.ok(!isFromElsewhere({}));
});

test("isLoopback() knows the addresses of this machine", () => {
  assert.deepEqual(
    ["127.0.0.1", "127.3.2.1", "::1", "0.0.0.0", "::", "10.0.0.1", "127.evil"].map(isLoopback),
    [true, true, true, false, false, false, false],
  );
});
