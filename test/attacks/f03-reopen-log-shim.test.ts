/** The attacks of f03-reopen-log.test.ts on logs that davit writes for a containerd shim. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./f03-reopen-log.test.ts");

export {};
