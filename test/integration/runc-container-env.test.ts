/** The suite of container-env.test.ts for containers that runc runs. */
process.env["DAVIT_TEST_HANDLER"] = "runc";
await import("./container-env.test.ts");

export {};
