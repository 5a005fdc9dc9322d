/** The suite of streaming-attach.test.ts for containers that a containerd shim runs. */
process.env["DAVIT_TEST_HANDLER"] = "shim";
await import("./streaming-attach.test.ts");

export {};
