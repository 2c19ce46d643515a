// The engine on a real back end and small random models: what a request gets must not depend, bit
// for bit, on its neighbours, on chunking, on preemption or on cached prefixes.

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

#include "client.h"
#include "harness.h"

namespace hotpath::test {
namespace {

ModelSpec make_spec(int hidden_size, int vocab_size, int head_dim, int intermediate_size,
                    int moe_intermediate_size) {
  ModelSpec spec;
  spec.family = "test";
  spec.hidden_size = hidden_size;
  spec.vocab_size = vocab_size;
  spec.max_position = 256;
  spec.tie_embeddings = true;
  spec.layers.resize(2);
  for (LayerSpec& layer : spec.layers) {
    layer.mixer.num_heads = 4;
    layer.mixer.num_kv_heads = 2;
    layer.mixer.head_dim = head_dim;
    layer.mixer.qk_norm = true;
    layer.mixer.rope.rotary_dim = head_dim;
  }
  spec.layers[0].mixer.window = 11;
  spec.layers[0].ffn = {.kind = "dense", .intermediate_size = intermediate_size};
  spec.layers[1].ffn = {.kind = "moe",
                        .intermediate_size = moe_intermediate_size,
                        .num_experts = 6,
                        .top_k = 2,
                        .renormalize = true};
  return spec;
}

// Sizes that no fast kernel takes, and sizes that all of them take.
ModelSpec odd_spec() { return make_spec(32, 97, 8, 48, 16); }
ModelSpec aligned_spec() { return make_spec(256, 1000, 64, 512, 128); }

struct Asked {
  std::vector<int32_t> prompt;
  SamplingParams params;
};

struct Answer {
  std::vector<int32_t> ints;  // tokens and top ids in order; prompt tokens first
  std::vector<float> floats;
  std::vector<int32_t> experts;
  int finish = 0;
  bool operator==(const Answer&) const = default;
};

// All of the requests at once.
std::vector<Answer> run(const std::string& device, const ModelSpec& spec,
                        const EngineOptions& options, const std::string& weights,
                        const std::vector<Asked>& requests, EngineStats& stats) {
  BackendOptions backend;
  backend.num_threads = 2;
  backend.activation_dtype = weights;
  auto ops = create_ops(device, backend);
  auto model = Model::dummy(spec, weights, 7, *ops, {});
  std::mutex mutex;
  std::condition_variable woken;
  bool pending = false;
  auto engine = Engine::create(std::move(ops), std::move(model), options, [&] {
    std::lock_guard lock(mutex);
    pending = true;
    woken.notify_one();
  });
  for (size_t i = 0; i < requests.size(); ++i) {
    Request r;
    r.id = static_cast<int64_t>(i) + 1;
    r.prompt = requests[i].prompt;
    r.params = requests[i].params;
    engine->submit(std::move(r));
  }
  std::vector<Answer> answers(requests.size());
  Delivery d;
  for (size_t ended = 0; ended < requests.size();) {
    {
      std::unique_lock lock(mutex);
      woken.wait(lock, [&] { return pending; });
      pending = false;
    }
    engine->take(d);
    size_t f = 0;
    for (size_t i = 0; i < d.ints.size();) {
      const int32_t* h = d.ints.data() + i;
      Answer& a = answers[h[0] - 1];
      const int values = h[3] * (1 + h[4]);
      a.ints.insert(a.ints.end(), h + 8, h + 8 + values);
      if (h[1] & 1) {
        a.floats.insert(a.floats.end(), d.floats.begin() + f, d.floats.begin() + f + values);
        f += values;
      }
      a.experts.insert(a.experts.end(), h + 8 + values, h + 8 + values + h[7]);
      a.finish = h[2];
      ended += h[2] != 0;
      i += 8 + values + h[7];
    }
  }
  engine->close();
  stats = engine->stats();
  EXPECT(!stats.failed, stats.failure);
  EXPECT_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
  return answers;
}

void compare(const ModelSpec& spec, const char* weights, const char* kv_dtype, int block_size) {
  const std::string device = device_under_test();
  std::vector<Asked> requests;
  for (int i = 0; i < 64; ++i) {
    Asked a{make_prompt(1 + i * 11 % 60, static_cast<uint64_t>(i)), greedy(2 + i * 7 % 45)};
    const std::vector<int32_t> common = make_prompt(60, 1000);
    if (i % 3 == 0) std::copy_n(common.begin(), a.prompt.size() * 2 / 3, a.prompt.begin());
    SamplingParams& p = a.params;
    if (i % 2) p.temperature = 0.9f, p.seed = static_cast<uint64_t>(i), p.top_p = 0.95f;
    if (i % 5 == 0) p.num_logprobs = 3, p.presence_penalty = 0.5f;
    if (i % 7 == 0) p.num_prompt_logprobs = 2;
    p.return_routed_experts = i % 4 == 0;
    requests.push_back(std::move(a));
  }
  EngineOptions options;
  options.max_model_len = 110;
  options.block_size = block_size;
  options.kv_cache_dtype = kv_dtype;
  options.capture_routed_experts = true;
  options.max_running_seqs = 64;
  options.max_batch_tokens = 70;
  // Keys and values of two layers of two heads each.
  const int64_t token =
      int64_t{2} * 2 * 2 * spec.layers[0].mixer.head_dim * (std::string(kv_dtype) == "f32" ? 4 : 2);
  options.kv_cache_bytes = 180 * token;  // two or three long requests
  EngineStats stats;
  const std::vector<Answer> together = run(device, spec, options, weights, requests, stats);
  EXPECT(stats.preemptions > 0 && stats.cached_prompt_tokens > 0, "preemptions ", stats.preemptions,
         ", cached ", stats.cached_prompt_tokens);

  options.kv_cache_bytes = 1600 * token;
  options.prefix_caching = false;
  options.max_running_seqs = 1;
  options.max_batch_tokens = 110;
  const std::vector<Answer> alone = run(device, spec, options, weights, requests, stats);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT(alone[i].finish == 2 || alone[i].finish == 1, "request ", i, " ended with ",
           alone[i].finish);
    EXPECT(together[i] == alone[i], "request ", i, " (", weights, " weights, ", kv_dtype,
           " cache) gets something else in company");
  }
}

TEST(real_model_gives_64_requests_what_each_gets_alone_f32) {
  compare(odd_spec(), "f32", "f32", 4);
}
TEST(real_model_gives_64_requests_what_each_gets_alone_bf16) {
  compare(odd_spec(), "bf16", "bf16", 4);
}
TEST(real_model_of_aligned_sizes_gives_64_requests_what_each_gets_alone_f32) {
  compare(aligned_spec(), "f32", "f32", 16);
}
TEST(real_model_of_aligned_sizes_gives_64_requests_what_each_gets_alone_f16) {
  compare(aligned_spec(), "f16", "f16", 16);
}
TEST(real_model_of_aligned_sizes_gives_64_requests_what_each_gets_alone_bf16) {
  compare(aligned_spec(), "bf16", "bf16", 16);
}

}  // namespace
}  // namespace hotpath::test
