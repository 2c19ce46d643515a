/** One line on stderr while a model loads: a bar in a terminal, two words elsewhere. */
import { basename } from 'node:path';
import { SingleBar } from 'cli-progress';
import type { LoadProgress } from '../index.js';

export interface ProgressLine {
  update(progress: LoadProgress): void;
  /** Ends the line: with what was loaded, or after an error with nothing more. */
  end(done: boolean): void;
}

export function progressLine(model: string, stream: NodeJS.WriteStream): ProgressLine {
  const name = basename(model);
  const started = performance.now();
  let loaded = 0;
  if (!stream.isTTY) {
    stream.write(`Loading ${name} ...`);
    return {
      update: ({ bytesDone }) => {
        loaded = bytesDone;
      },
      end: (done) => {
        stream.write(done ? ` ${summary(loaded, started)}\n` : '\n');
      },
    };
  }
  const bar = new SingleBar({
    stream,
    format: `Loading ${name} {bar} {percentage}% {file}`,
    clearOnComplete: true,
    hideCursor: true,
    barsize: 24,
  });
  bar.start(1, 0, { file: '' });
  return {
    update: ({ bytesDone, bytesTotal, file }) => {
      loaded = bytesDone;
      bar.setTotal(Math.max(bytesTotal, 1));
      bar.update(bytesDone, { file: file ?? '' });
    },
    end: (done) => {
      bar.stop();
      if (done) stream.write(`Loaded ${name}: ${summary(loaded, started)}\n`);
    },
  };
}

function summary(bytes: number, started: number): string {
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  return `${(bytes / 1e6).toFixed(1)} MB in ${seconds} s`;
}
