/** Manifests and configurations. */
import type { Kit, Members, Shape } from './kit.js';

const semver = '^\\d+\\.\\d+\\.\\d+(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?$';
const version = (k: Kit) => () => `${k.below(20)}.${k.below(30)}.${k.below(9)}`;
const slug = (k: Kit) => () => `${k.word()}-${k.word()}`;
const named = (k: Kit) => ({ pattern: '^[a-zA-Z0-9._-]+$', make: slug(k) });

export const configs: Record<string, (k: Kit) => Shape> = {
  package_manifest: (k) => {
    const ranges = () =>
      k.map(k.text({ min: 1 }), { pattern: '^(@[a-z0-9-]+/)?[a-z0-9._-]+$', make: slug(k) });
    return k.object({
      name: k.pattern('^(@[a-z0-9-]+/)?[a-z0-9._-]+$', slug(k), { maxLength: 214 }),
      version: k.pattern(semver, version(k)),
      'description?': k.text(),
      'private?': k.boolean(),
      'type?': k.choice('module', 'commonjs'),
      'license?': k.choice('MIT', 'Apache-2.0', 'BSD-3-Clause', 'ISC', 'UNLICENSED'),
      'author?': k.anyOf(
        k.text(),
        k.object({ name: k.text(), 'email?': k.format('email'), 'url?': k.format('uri') }),
      ),
      'keywords?': k.list(k.text()),
      'scripts?': k.map(k.text()),
      'dependencies?': ranges(),
      'devDependencies?': ranges(),
      'engines?': k.object({ 'node?': k.text(), 'npm?': k.text() }),
      'files?': k.list(k.text()),
    });
  },

  cargo_manifest: (k) =>
    k.object({
      package: k.object({
        name: k.pattern('^[a-z][a-z0-9_-]*$', slug(k)),
        version: k.pattern(semver, version(k)),
        edition: k.choice('2015', '2018', '2021', '2024'),
        'authors?': k.list(k.text()),
      }),
      'dependencies?': k.map(
        k.anyOf(
          k.pattern('^[\\^~=]?\\d+(\\.\\d+){0,2}$', () => `^${k.below(9)}.${k.below(9)}`),
          k.object({
            version: k.text(),
            'features?': k.list(k.text()),
            'optional?': k.boolean(),
            'default-features?': k.boolean(),
          }),
        ),
      ),
      'features?': k.map(k.list(k.text())),
      'profile?': k.object({
        'opt-level?': k.anyOf(k.choice(0, 1, 2, 3), k.choice('s', 'z')),
        'lto?': k.anyOf(k.boolean(), k.choice('thin', 'fat', 'off')),
      }),
    }),

  ci_workflow: (k) =>
    k.object({
      name: k.text(),
      on: k.subset('push', 'pull_request', 'schedule', 'workflow_dispatch', 'release'),
      'env?': k.map(k.anyOf(k.text(), k.number(), k.boolean())),
      jobs: k.map(
        k.object({
          'runs-on': k.choice('ubuntu-latest', 'macos-latest', 'windows-latest', 'self-hosted'),
          'needs?': k.list(k.text()),
          'timeout-minutes?': k.integer(1, 360),
          'strategy?': k.object({ matrix: k.map(k.list(k.anyOf(k.text(), k.number()))) }),
          steps: k.list(
            k.anyOf(
              k.object({ run: k.text({ min: 1 }), 'shell?': k.choice('bash', 'pwsh', 'sh') }),
              k.object({
                uses: k.pattern('^[\\w.-]+/[\\w.-]+@[\\w.-]+$', () => `${k.word()}/${k.word()}@v4`),
                'with?': k.map(k.text()),
              }),
            ),
            { min: 1 },
          ),
        }),
        named(k),
      ),
    }),

  compose_file: (k) => {
    const duration = () => k.pattern('^(\\d+(ms|s|m|h))+$', () => `${1 + k.below(60)}s`);
    return k.object({
      services: k.map(
        k.object({
          image: k.pattern(
            '^[a-z0-9./_-]+(:[\\w.-]+)?$',
            () => `${k.word()}/${k.word()}:1.${k.below(9)}`,
          ),
          'ports?': k.list(k.pattern('^(\\d{1,5}:)?\\d{1,5}(/(tcp|udp))?$', () => '8080:80')),
          'environment?': k.anyOf(k.list(k.text()), k.map(k.nullable(k.text()))),
          'depends_on?': k.list(k.text()),
          'restart?': k.choice('no', 'always', 'on-failure', 'unless-stopped'),
          'healthcheck?': k.object({
            test: k.list(k.text(), { min: 1 }),
            'interval?': duration(),
            'timeout?': duration(),
            'retries?': k.integer(0, 100),
          }),
          'volumes?': k.list(k.text()),
        }),
        named(k),
      ),
      'volumes?': k.map(k.nullable(k.object({ 'driver?': k.text(), 'external?': k.boolean() }))),
    });
  },

  kubernetes_deployment: (k) => {
    const labels = k.define('labels', () => k.map(k.text({ max: 63 })));
    const quantity = k.define('quantity', () =>
      k.pattern('^\\d+(\\.\\d+)?(m|k|M|G|Ki|Mi|Gi)?$', () => `${1 + k.below(999)}Mi`),
    );
    const dnsName = () => k.pattern('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$', slug(k), { maxLength: 63 });
    const resources = () => k.object({ 'cpu?': quantity, 'memory?': quantity });
    return k.object({
      apiVersion: k.constant('apps/v1'),
      kind: k.constant('Deployment'),
      metadata: k.object({ name: dnsName(), 'namespace?': dnsName(), 'labels?': labels }),
      spec: k.object({
        replicas: k.integer(0, 1000),
        selector: k.object({ matchLabels: labels }),
        template: k.object({
          metadata: k.object({ labels }),
          spec: k.object({
            containers: k.list(
              k.object({
                name: dnsName(),
                image: k.text({ min: 1 }),
                'command?': k.list(k.text()),
                'ports?': k.list(
                  k.object({
                    containerPort: k.integer(1, 65535),
                    'protocol?': k.choice('TCP', 'UDP'),
                  }),
                ),
                'env?': k.list(k.object({ name: k.text({ min: 1 }), 'value?': k.text() })),
                'resources?': k.object({ 'limits?': resources(), 'requests?': resources() }),
                'imagePullPolicy?': k.choice('Always', 'IfNotPresent', 'Never'),
              }),
              { min: 1, max: 10 },
            ),
            'restartPolicy?': k.choice('Always', 'OnFailure', 'Never'),
          }),
        }),
      }),
    });
  },

  compiler_options: (k) => {
    const flags: Members = {};
    const names =
      'strict noImplicitAny strictNullChecks noUnusedLocals noUnusedParameters esModuleInterop skipLibCheck declaration ' +
      'sourceMap removeComments isolatedModules allowJs checkJs noEmit composite incremental resolveJsonModule ' +
      'noImplicitReturns noFallthroughCasesInSwitch forceConsistentCasingInFileNames';
    for (const name of names.split(' ')) flags[`${name}?`] = k.boolean();
    return k.object({
      compilerOptions: k.object({
        'target?': k.choice('ES5', 'ES2015', 'ES2019', 'ES2020', 'ES2022', 'ESNext'),
        'module?': k.choice('commonjs', 'es2015', 'es2022', 'esnext', 'node16', 'nodenext'),
        'lib?': k.list(k.text()),
        ...flags,
        'paths?': k.map(k.list(k.text(), { min: 1 })),
      }),
      'include?': k.list(k.text()),
      'exclude?': k.list(k.text()),
    });
  },

  lint_rules: (k) => {
    const severity = k.define('severity', () =>
      k.anyOf(k.choice('off', 'warn', 'error'), k.choice(0, 1, 2)),
    );
    const rule = k.define('rule', () => k.anyOf(severity, k.tuple(severity, k.map(k.boolean()))));
    return k.object({
      'root?': k.boolean(),
      'extends?': k.anyOf(k.text(), k.list(k.text())),
      rules: k.map(rule, { pattern: '^[a-z@][a-z0-9/@-]*$', make: slug(k) }),
      'overrides?': k.list(k.object({ files: k.list(k.text(), { min: 1 }), rules: k.map(rule) })),
    });
  },

  logging: (k) => {
    const level = k.choice('trace', 'debug', 'info', 'warn', 'error', 'fatal');
    return k.object({
      level,
      sinks: k.list(
        k.oneOf(
          k.object({ type: k.constant('console'), 'color?': k.boolean() }),
          k.object({
            type: k.constant('file'),
            path: k.text({ min: 1 }),
            'max_bytes?': k.integer(1024),
            'keep?': k.integer(1, 100),
          }),
          k.object({
            type: k.constant('syslog'),
            host: k.format('hostname'),
            port: k.integer(1, 65535),
          }),
          k.object({
            type: k.constant('http'),
            url: k.format('uri'),
            'headers?': k.map(k.text()),
            'batch?': k.integer(1, 10000),
          }),
        ),
        { min: 1, max: 8 },
      ),
      'loggers?': k.map(level),
    });
  },

  server_settings: (k) =>
    k.object({
      host: k.anyOf(k.format('hostname'), k.format('ipv4'), k.format('ipv6')),
      port: k.integer(1, 65535),
      'tls?': k.object(
        { cert: k.text(), key: k.text(), 'ca?': k.text(), 'min_version?': k.choice('1.2', '1.3') },
        { dependentRequired: { ca: ['cert'] } },
      ),
      'cors?': k.object({ origins: k.list(k.text()), 'credentials?': k.boolean() }),
      'limits?': k.object({
        'body_bytes?': k.integer(0),
        'requests_per_minute?': k.integer(1, 100000),
        'timeout?': k.format('duration'),
      }),
      'proxies?': k.list(k.pattern('^\\d{1,3}(\\.\\d{1,3}){3}/\\d{1,2}$', () => '10.0.0.0/8')),
    }),

  pipeline: (k) => {
    const stage = k.define('stage', () =>
      k.oneOf(
        k.object({
          op: k.constant('read'),
          from: k.text({ min: 1 }),
          format: k.choice('csv', 'json', 'parquet'),
        }),
        k.object({
          op: k.constant('filter'),
          column: k.text(),
          is: k.choice('=', '<', '>', '!='),
          value: k.anyOf(k.text(), k.number()),
        }),
        k.object({
          op: k.constant('join'),
          right: k.list(k.again('stage'), { min: 1, max: 5 }),
          on: k.list(k.text(), { min: 1 }),
        }),
        k.object({
          op: k.constant('group'),
          by: k.list(k.text(), { min: 1 }),
          agg: k.map(k.choice('sum', 'mean', 'max')),
        }),
        k.object({ op: k.constant('write'), to: k.format('uri'), 'overwrite?': k.boolean() }),
      ),
    );
    return k.object({ name: k.text(), stages: k.list(stage, { min: 1, max: 20 }) });
  },

  training_run: (k) =>
    k.object({
      model: k.object({
        layers: k.integer(1, 200),
        hidden: k.integer(64, 32768, 64),
        heads: k.integer(1, 256),
        'activation?': k.choice('relu', 'gelu', 'silu', 'swiglu'),
        'dropout?': k.steps(0.05, 0, 0.5),
      }),
      optimizer: k.oneOf(
        k.object({ name: k.constant('sgd'), lr: k.number(0, 10), 'momentum?': k.number(0, 1) }),
        k.object({
          name: k.constant('adamw'),
          lr: k.number(0, 1),
          'betas?': k.tuple(k.number(0, 1), k.number(0, 1)),
          'weight_decay?': k.number(0, 1),
        }),
      ),
      data: k.list(k.object({ path: k.text(), weight: k.number(0, 1) }), { min: 1, max: 16 }),
      'seed?': k.integer(0),
      'precision?': k.choice('fp32', 'fp16', 'bf16', 'fp8'),
    }),

  feature_flags: (k) =>
    k.map(
      k.object({
        enabled: k.boolean(),
        'rollout?': k.integer(0, 100, 5),
        'rules?': k.list(
          k.object({
            attribute: k.choice('country', 'plan', 'version', 'email'),
            operator: k.choice('in', 'not_in', 'matches', 'gte', 'lt'),
            values: k.list(k.text(), { min: 1, max: 50 }),
          }),
        ),
        'expires?': k.nullable(k.format('date')),
      }),
      { pattern: '^[a-z][a-z0-9_]{2,40}$', make: () => `${k.word()}_${k.word()}` },
    ),

  access_policy: (k) =>
    k.object({
      Version: k.constant('2012-10-17'),
      Statement: k.list(
        k.object({
          'Sid?': k.pattern('^[A-Za-z0-9]*$', () => k.word()),
          Effect: k.choice('Allow', 'Deny'),
          Action: k.anyOf(
            k.pattern('^[a-z0-9]+:[A-Za-z*]+$', () => 's3:GetObject'),
            k.list(
              k.pattern('^[a-z0-9]+:[A-Za-z*]+$', () => 'ec2:Describe*'),
              { min: 1 },
            ),
          ),
          Resource: k.anyOf(k.constant('*'), k.list(k.text({ min: 1 }), { min: 1 })),
          'Condition?': k.map(k.map(k.text())),
        }),
        { min: 1, max: 20 },
      ),
    }),

  cron_jobs: (k) =>
    k.list(
      k.object({
        name: k.text({ min: 1, max: 60 }),
        schedule: k.pattern(
          '^(\\*|\\d{1,2})( (\\*|\\d{1,2})){4}$',
          () => `${k.below(60)} ${k.below(24)} * * *`,
        ),
        'timezone?': k.pattern('^[A-Z][A-Za-z_]+/[A-Z][A-Za-z_]+$', () => 'Europe/Berlin'),
        command: k.list(k.text(), { min: 1 }),
        'retries?': k.integer(0, 10),
      }),
      { min: 1, max: 10 },
    ),

  dns_zone: (k) => {
    const name = () => k.text({ min: 1, max: 63 });
    const ttl = () => k.integer(30, 86400);
    return k.object({
      zone: k.format('hostname'),
      records: k.list(
        k.oneOf(
          k.object({ type: k.constant('A'), name: name(), value: k.format('ipv4'), 'ttl?': ttl() }),
          k.object({
            type: k.constant('AAAA'),
            name: name(),
            value: k.format('ipv6'),
            'ttl?': ttl(),
          }),
          k.object({ type: k.constant('CNAME'), name: name(), value: k.format('hostname') }),
          k.object({
            type: k.constant('MX'),
            name: name(),
            priority: k.integer(0, 65535),
            value: k.format('hostname'),
          }),
          k.object({ type: k.constant('TXT'), name: name(), value: k.text({ max: 255 }) }),
        ),
        { min: 1, max: 200 },
      ),
    });
  },
};
