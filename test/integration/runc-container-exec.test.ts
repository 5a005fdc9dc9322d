/** The suite of container-exec.test.ts for containers that runc runs. */
process.env["DAVIT_TEST_HANDLER"] = "runc";
await import("./container-exec.test.ts");

export {};
