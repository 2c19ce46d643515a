#!/usr/bin/env node
/** The program `hotpath`. */
import { processContext } from './process.js';
import { runCli } from './program.js';

process.exitCode = await runCli(process.argv.slice(2), processContext());
