import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Access,
  isFromElsewhere,
  isLoopback,
  isOwnHost,
  isOwnOrigin,
  requestKey,
  shellKey,
} from "./access.ts";

test("Access opens a session for its token only", () => {
  const access = new Access(8080);
  assert.ok(Buffer.from(access.token, "base64url").length * 8 >= 128);
  for (const wrong of ["", access.token.slice(1), `${access.token}x`, "x".repeat(100_000)]) {
    assert.equal(access.open(wrong), undefined);
  }
  const { cookie, key } = access.open(access.token) ?? { cookie: "", key: "" };
  assert.match(cookie, /^davit-ui-8080=[\w-]{32}; HttpOnly; SameSite=Strict; Path=\/$/);
  const [pair = ""] = cookie.split(";");
  assert.ok(!pair.includes(access.token), "the cookie is not the token");
  assert.ok(Buffer.from(key, "base64url").length * 8 >= 128);
  assert.ok(!pair.includes(key) && key !== access.token, "the key is a secret of its own");
  assert.ok(access.isOpen({ cookie: pair }, key));
  assert.ok(access.isOpen({ cookie: `a=1; ${pair}; b=2` }, key));
  for (const wrong of [undefined, "", `${pair}x`, pair.slice(0, -1), "davit-ui-8080="]) {
    assert.ok(!access.isOpen(wrong === undefined ? {} : { cookie: wrong }, key), wrong);
  }
  const secret = pair.replace("davit-ui-8080=", "");
  for (const wrong of ["", `${key}x`, key.slice(1), access.token, secret]) {
    assert.ok(!access.isOpen({ cookie: pair }, wrong), wrong);
  }
});

test("Access lets a tab stay when another one has replaced the cookie", () => {
  const access = new Access(1);
  const first = access.open(access.token);
  const second = access.open(access.token);
  assert.ok(first !== undefined && second !== undefined);
  const cookie = second.cookie.split(";")[0] ?? "";
  assert.ok(access.isOpen({ cookie }, first.key));
  assert.ok(access.isOpen({ cookie }, second.key));
});

test("requestKey() and shellKey() find the key of a request", () => {
  assert.equal(requestKey({ "x-davit-key": "a" }), "a");
  assert.equal(requestKey({}), "");
  const key = (protocols: string): string => shellKey({ "sec-websocket-protocol": protocols });
  assert.equal(key("davit-shell, key.a"), "a");
  assert.equal(key("key.a,davit-shell"), "a");
  for (const none of ["", "key.a", "davit-shell", "davit-shell, keya"]) assert.equal(key(none), "");
  assert.equal(shellKey({ "x-davit-key": "a" }), "");
});

test("Access keeps the newest sessions", () => {
  const access = new Access(1);
  const sessions = Array.from({ length: 17 }, () => {
    const { cookie = "", key = "" } = access.open(access.token) ?? {};
    return { cookie: cookie.split(";")[0] ?? "", key };
  });
  const expected = sessions.map((_, at) => at > 0);
  const { cookie, key } = sessions.at(-1) ?? { cookie: "", key: "" };
  assert.deepEqual(
    sessions.map((each) => access.isOpen({ cookie: each.cookie }, key)),
    expected,
  );
  assert.deepEqual(
    sessions.map((each) => access.isOpen({ cookie }, each.key)),
    expected,
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
