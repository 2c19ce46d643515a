#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace hotpath::grammar {

// Tarjan's strongly connected components, without recursion. successors(v) returns a range of
// uint32_t. Returns the component of each vertex, numbered so that an edge never leads to a
// component of a higher number.
template <typename Successors>
std::vector<uint32_t> components(uint32_t n, Successors&& successors) {
  constexpr uint32_t kNone = 0xffffffff;
  std::vector<uint32_t> component(n, kNone), index(n, kNone), low(n), stack;
  struct Frame {
    uint32_t vertex;
    size_t next;
  };
  std::vector<Frame> frames;
  uint32_t next_index = 0, next_component = 0;
  for (uint32_t root = 0; root < n; ++root) {
    if (index[root] != kNone) continue;
    frames.push_back({root, 0});
    while (!frames.empty()) {
      const uint32_t v = frames.back().vertex;
      if (frames.back().next == 0) {
        index[v] = low[v] = next_index++;
        stack.push_back(v);
      }
      const auto& out = successors(v);
      bool descended = false;
      while (frames.back().next < out.size()) {
        const uint32_t w = out[frames.back().next++];
        if (index[w] == kNone) {
          frames.push_back({w, 0});
          descended = true;
          break;
        }
        if (component[w] == kNone) low[v] = std::min(low[v], index[w]);
      }
      if (descended) continue;
      if (low[v] == index[v]) {
        uint32_t w;
        do {
          w = stack.back();
          stack.pop_back();
          component[w] = next_component;
        } while (w != v);
        ++next_component;
      }
      frames.pop_back();
      if (!frames.empty())
        low[frames.back().vertex] = std::min(low[frames.back().vertex], low[v]);
    }
  }
  return component;
}

}  // namespace hotpath::grammar
