// The addon's exports, as lib/native.d.ts describes them. Node loads this file once per
// environment (main thread and every worker); what belongs to one is its instance data.

#include <node_api.h>

#include <memory>
#include <vector>

#include "napi/engine_wrap.h"
#include "napi/js.h"
#include "ops/device.h"

namespace hotpath {

namespace {

struct Instance {
  js::Reference set_immediate;
};

napi_value devices(napi_env env, napi_callback_info) {
  return js::guard(env, [&] {
    napi_value list = nullptr;
    const std::vector<DeviceInfo> infos = list_devices();
    js::ok(env, napi_create_array_with_length(env, infos.size(), &list));
    uint32_t index = 0;
    for (const DeviceInfo& info : infos) {
      napi_value device = js::object(env);
      js::set(env, device, "kind", js::string(env, info.kind));
      js::set(env, device, "index", js::number(env, info.index));
      js::set(env, device, "name", js::string(env, info.name));
      js::set(env, device, "totalBytes", js::number(env, static_cast<double>(info.total_bytes)));
      js::set(env, device, "freeBytes", js::number(env, static_cast<double>(info.free_bytes)));
      js::set(env, device, "detail", js::string(env, info.detail));
      js::set(env, device, "unavailable",
              info.unavailable.empty() ? js::null(env) : js::string(env, info.unavailable));
      js::ok(env, napi_set_element(env, list, index++, device));
    }
    return list;
  });
}

napi_value create_engine(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    std::vector<napi_value> args(5);
    size_t count = args.size();
    void* instance = nullptr;
    js::ok(env, napi_get_cb_info(env, info, &count, args.data(), nullptr, nullptr));
    js::ok(env, napi_get_instance_data(env, &instance));
    return EngineWrap::create(env, args, static_cast<Instance*>(instance)->set_immediate.get());
  });
}

napi_value init(napi_env env, napi_value exports) {
  return js::guard(env, [&] {
    napi_value global = nullptr, set_immediate = nullptr;
    js::ok(env, napi_get_global(env, &global));
    js::ok(env, napi_get_named_property(env, global, "setImmediate", &set_immediate));
    auto instance = std::make_unique<Instance>();
    instance->set_immediate = js::Reference(env, set_immediate);
    js::ok(env, napi_set_instance_data(
                    env, instance.get(),
                    [](napi_env, void* data, void*) {
                      auto* ending = static_cast<Instance*>(data);
                      ending->set_immediate.reset();
                      delete ending;
                    },
                    nullptr));
    instance.release();
    js::set(env, exports, "version", js::string(env, HOTPATH_VERSION));
    js::set(env, exports, "devices", js::function(env, "devices", devices, nullptr));
    js::set(env, exports, "createEngine",
            js::function(env, "createEngine", create_engine, nullptr));
    return exports;
  });
}

}  // namespace

}  // namespace hotpath

NAPI_MODULE_INIT() { return hotpath::init(env, exports); }
