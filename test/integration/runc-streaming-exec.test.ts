/** The suite of streaming-exec.test.ts for containers that runc runs. */
process.env["DAVIT_TEST_HANDLER"] = "runc";
await import("./streaming-exec.test.ts");

export {};
