#pragma once

#include <node_api.h>

#include <functional>

#include "engine/engine.h"

namespace hotpath {

// Calls fn with the id of every request whose last record is in the delivery.
void for_each_finished(const Delivery& delivery, const std::function<void(int32_t)>& fn);

// NativeDelivery and NativeStats of lib/native.d.ts: fresh objects, data copied.
napi_value delivery_object(napi_env env, const Delivery& delivery);
napi_value stats_object(napi_env env, const EngineStats& stats);

}  // namespace hotpath
