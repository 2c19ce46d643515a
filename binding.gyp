# For "npx node-gyp rebuild" only ("gypfile": false keeps npm from running it): the real build is CMake's.
# Compiles nothing where an up-to-date or a prebuilt addon fits.
{
  'targets': [{
    'target_name': 'hotpath_native',
    'type': 'none',
    'variables': {'needed': '<!(node scripts/build.mjs --only native --needed)'},
    'conditions': [['needed==1', {
      'actions': [{
        'action_name': 'cmake',
        'inputs': ['CMakeLists.txt'],
        'outputs': ['<(PRODUCT_DIR)/hotpath.node'],
        'action': ['node', 'scripts/build.mjs', '--only', 'native'],
      }],
    }]],
  }],
}
