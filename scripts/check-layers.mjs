// npm run check:layers
import { findViolations } from './layers.mjs';
import { say } from './tools.mjs';

const violations = findViolations();
for (const violation of violations) say(violation);
if (violations.length > 0) {
  say(`${violations.length} import or length rules broken (the rules: scripts/layers.mjs)`);
  process.exit(1);
}
