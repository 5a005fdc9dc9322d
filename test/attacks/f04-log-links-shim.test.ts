/** The attacks of f04-log-links.test.ts on logs that davit writes for a containerd shim. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./f04-log-links.test.ts");

export {};
