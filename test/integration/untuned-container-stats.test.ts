/** The suite of container-stats.test.ts for a daemon without its performance measures. */
process.env["DAVIT_TEST_TUNING"] = "off";
await import("./container-stats.test.ts");

export {};
