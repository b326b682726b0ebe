// The native loop: runs the program of one step (see program.py) at every step of a sequence.
//
// Rows of the batch are independent. Each thread takes a block of rows through all steps, and never meets another.
// An element of the result depends on its row alone and is computed in the same order for any block of rows, so that
// the number of threads changes no bit.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kTileRows = 13;  // 26 of 32 registers accumulate.
#else
constexpr int kVectorBytes = 32;
constexpr int kTileRows = 6;  // 12 of 16 registers accumulate.
#endif

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float Vector __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Simd<double> {
  typedef double Vector __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Integers __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename Simd<T>::Vector;
template <class T>
using Integers = typename Simd<T>::Integers;
template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

template <class T>
inline Vector<T> splat(T x) {
  return x - Vector<T>{};  // A compiler drops the subtraction of zero. An addition of zero would change -0.
}
template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, Vector<T> v) {
  std::memcpy(p, &v, sizeof v);
}
// The first n lanes; the others are zero.
template <class T>
inline Vector<T> load_first(const T* p, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (Vector<T>)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
  else
    return (Vector<T>)_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p);
#else
  alignas(kVectorBytes) T lanes[kLanes<T>] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
#endif
}
template <class T>
inline void store_first(T* p, Vector<T> v, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), (__m512)v);
  else
    _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), (__m512d)v);
#else
  alignas(kVectorBytes) T lanes[kLanes<T>];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
#endif
}

// ---------------------------------------------------------------------------------------------------- functions

template <class T, class F>
inline Vector<T> by_lane(Vector<T> x, F f) {
  for (int i = 0; i < kLanes<T>; ++i) x[i] = f(x[i]);
  return x;
}

// exp(x) - 1 for x in [-60, 88], as in nlstm_jax/unroll/fused/activations.py.
inline Vector<float> exp_minus_one(Vector<float> x) {
  typedef Vector<float> V;
  typedef Integers<float> I;
  const V low = splat(-60.0f), high = splat(88.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  const V magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer.
  const V shifted = x * splat(1.44269504f) + magic;
  const V n = shifted - magic;
  const V r = x - n * splat(0.693359375f) - n * splat(-2.12194440e-4f);
  V q = splat(0.00138825085f);
  q = q * r + splat(0.00836659613f);
  q = q * r + splat(0.0416672023f);
  q = q * r + splat(0.166665431f);
  q = q * r + splat(0.499999981f);
  q = q * r + splat(1.0f);
  I bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  V power;
  std::memcpy(&power, &bits, sizeof power);
  return power * (r * q) + (power - splat(1.0f));
}
inline Vector<float> sigmoid(Vector<float> x) {
  return splat(1.0f) / (splat(2.0f) + exp_minus_one(-x));
}
inline Vector<float> tanh_of(Vector<float> x) {
  const Vector<float> e = exp_minus_one(splat(-2.0f) * x);
  return -e / (splat(2.0f) + e);
}
inline Vector<double> sigmoid(Vector<double> x) {
  return by_lane<double>(x, [](double z) { return 1.0 / (1.0 + std::exp(-z)); });
}
inline Vector<double> tanh_of(Vector<double> x) {
  return by_lane<double>(x, [](double z) { return std::tanh(z); });
}
template <class T>
inline Vector<T> truth(Integers<T> mask) {
  return mask ? splat(T(1)) : splat(T(0));
}
// NaN in either is NaN, as in XLA.
template <class T>
inline Vector<T> greater(Vector<T> a, Vector<T> b) {
  return a != a ? a : (b != b ? b : (a > b ? a : b));
}
template <class T>
inline Vector<T> smaller(Vector<T> a, Vector<T> b) {
  return a != a ? a : (b != b ? b : (a < b ? a : b));
}

// ------------------------------------------------------------------------------------------------------ program

// The order of these names is that of program.py.
enum Operation : int64_t {
  kCopy, kNeg, kAbs, kSign, kExp, kExpm1, kLog, kLog1p, kTanh, kLogistic, kSqrt, kRsqrt, kSin, kCos, kErf, kNot, kSquare,
  kFloor, kCeil,
  kAdd, kSub, kMul, kDiv, kMax, kMin, kPow, kEq, kNe, kLt, kLe, kGt, kGe, kAnd, kOr,
  kSelect, kClamp,
  kSum, kMaxOver, kMinOver, kMatmul,
};

enum Space : int64_t { kArgument, kResult, kThread, kChunk, kLiteral };

struct Buffer {
  int64_t space, index, row_stride, step_stride;
};
struct Operand {
  int64_t buffer, offset, column_stride;
};
struct Instruction {
  int64_t operation, width;
  Operand out, in[3];
  int64_t weight, inner;  // of a matmul
};
struct Weight {
  int64_t argument, inner, columns, inner_stride, column_stride;
};
struct Segment {
  int64_t first, count, chunk_width;  // chunk_width 0: one matmul
};
struct CarryLeaf {
  int64_t argument, result, width;
  Operand state, next;
};
struct Program {
  int64_t steps, rows, reverse, thread_width;
  std::vector<Buffer> buffers;
  std::vector<Instruction> instructions;
  std::vector<Segment> segments;
  std::vector<Weight> weights;
  std::vector<CarryLeaf> carry;
};

struct Reader {
  const int64_t* next;
  const int64_t* end;
  template <class S>
  bool read(std::vector<S>& list) {
    if (next == end) return false;
    const int64_t count = *next++, size = sizeof(S) / sizeof(int64_t);
    if (count < 0 || (end - next) / size < count) return false;
    list.resize(count);
    std::memcpy(list.data(), next, count * sizeof(S));
    next += count * size;
    return true;
  }
};

bool parse(ffi::Span<const int64_t> words, Program& program) {
  if (words.size() < 4) return false;
  std::memcpy(&program.steps, words.begin(), 4 * sizeof(int64_t));
  Reader reader{words.begin() + 4, words.end()};
  return reader.read(program.buffers) && reader.read(program.instructions) && reader.read(program.segments) &&
         reader.read(program.weights) && reader.read(program.carry) && reader.next == reader.end;
}

// ------------------------------------------------------------------------------------------------------- matmul

// Columns of a weight in panels of two vectors: element (k, n) stands at panel n / width, row k.
template <class T>
struct Packed {
  static constexpr int kWidth = 2 * kLanes<T>;
  int64_t inner, columns, panels;
  T* data;

  void pack(const T* w, const Weight& weight, int64_t first, int64_t last) {
    for (int64_t j = first; j < last; ++j) {
      T* out = data + j * inner * kWidth;
      const int64_t column = j * kWidth, width = std::min<int64_t>(kWidth, columns - column);
      const T* source = w + column * weight.column_stride;
      for (int64_t k = 0; k < inner; ++k, out += kWidth, source += weight.inner_stride) {
        for (int64_t n = 0; n < width; ++n) out[n] = source[n * weight.column_stride];
        for (int64_t n = width; n < kWidth; ++n) out[n] = T(0);
      }
    }
  }
};

template <class T, int M>
inline __attribute__((always_inline)) void tile(const T* __restrict a, int64_t a_stride, const T* __restrict b,
                                                int64_t inner, const T* addend, int64_t addend_stride, T* c,
                                                int64_t c_stride, int width) {
  constexpr int L = kLanes<T>;
  Vector<T> left[M], right[M];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) left[m] = right[m] = Vector<T>{};
  for (int64_t k = 0; k < inner; ++k, b += 2 * L) {
    const Vector<T> b_left = load(b), b_right = load(b + L);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Vector<T> x = splat(a[m * a_stride + k]);
      left[m] += x * b_left;
      right[m] += x * b_right;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    T* out = c + m * c_stride;
    const T* add = addend ? addend + m * addend_stride : nullptr;
    if (width == 2 * L) {
      store(out, add ? left[m] + load(add) : left[m]);
      store(out + L, add ? right[m] + load(add + L) : right[m]);
    } else {
      const int first = std::min(width, L), second = width - first;
      store_first(out, add ? left[m] + load_first(add, first) : left[m], first);
      if (second) store_first(out + L, add ? right[m] + load_first(add + L, second) : right[m], second);
    }
  }
}

template <class T, int M>
void tile_of(int64_t rows, const T* a, int64_t a_stride, const T* b, int64_t inner, const T* addend,
             int64_t addend_stride, T* c, int64_t c_stride, int width) {
  if (rows == M) return tile<T, M>(a, a_stride, b, inner, addend, addend_stride, c, c_stride, width);
  if constexpr (M > 1)
    tile_of<T, M - 1>(rows, a, a_stride, b, inner, addend, addend_stride, c, c_stride, width);
}

// c = addend + a w, for `rows` rows.
template <class T>
void matmul(int64_t rows, const T* a, int64_t a_stride, const Packed<T>& w, const T* addend, int64_t addend_stride,
            T* c, int64_t c_stride) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t j = 0; j < w.panels; ++j) {
    const int64_t column = j * Packed<T>::kWidth;
    const int width = int(std::min<int64_t>(Packed<T>::kWidth, w.columns - column));
    const T* panel = w.data + j * w.inner * Packed<T>::kWidth;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t first = rows * i / tiles, last = rows * (i + 1) / tiles;
      tile_of<T, kTileRows>(last - first, a + first * a_stride, a_stride, panel, w.inner,
                            addend ? addend + first * addend_stride + column : nullptr, addend_stride,
                            c + first * c_stride + column, c_stride, width);
    }
  }
}

// -------------------------------------------------------------------------------------- operations on each element

template <class T>
struct Input {
  const T* data;
  int64_t row_stride;
  bool one_column;
};

template <class T>
inline Vector<T> element(const T* row, bool one_column, int64_t column) {
  return one_column ? splat(*row) : load(row + column);
}

template <class T, int N, class F>
inline void for_each(int64_t rows, int64_t width, T* out, int64_t out_stride, const Input<T>* in, F f) {
  constexpr int L = kLanes<T>;
  bool contiguous = out_stride == width;
  for (int i = 0; i < N; ++i) {
    const bool same = in[i].one_column ? in[i].row_stride == 0 : in[i].row_stride == width;
    contiguous = contiguous && same;
  }
  if (contiguous) {
    width *= rows;
    rows = 1;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const T* row[N];
    Vector<T> x[N] = {};
    for (int i = 0; i < N; ++i) {
      row[i] = in[i].data + r * in[i].row_stride;
      if (in[i].one_column) x[i] = splat(*row[i]);
    }
    T* result = out + r * out_stride;
    int64_t column = 0;
    for (; column + L <= width; column += L) {
      for (int i = 0; i < N; ++i)
        if (!in[i].one_column) x[i] = load(row[i] + column);
      store(result + column, f(x));
    }
    if (const int rest = int(width - column)) {
      for (int i = 0; i < N; ++i)
        if (!in[i].one_column) x[i] = load_first(row[i] + column, rest);
      store_first(result + column, f(x), rest);
    }
  }
}

template <class T, class F>
inline void reduce(int64_t rows, int64_t width, T* out, int64_t out_stride, const Input<T>& in, F f) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = in.data + r * in.row_stride;
    T total = row[0];
    for (int64_t column = 1; column < width; ++column) total = f(total, in.one_column ? row[0] : row[column]);
    out[r * out_stride] = total;
  }
}

// Sums in vectors, and their lanes from the first to the last.
template <class T>
inline void sum(int64_t rows, int64_t width, T* out, int64_t out_stride, const Input<T>& in) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = in.data + r * in.row_stride;
    Vector<T> totals = {};
    int64_t column = 0;
    for (; column + L <= width; column += L) totals += element(row, in.one_column, column);
    T total = T(0);
    for (int i = 0; i < L; ++i) total += totals[i];
    for (; column < width; ++column) total += in.one_column ? row[0] : row[column];
    out[r * out_stride] = total;
  }
}

template <class T>
void run(const Instruction& instruction, int64_t rows, T* out, int64_t out_stride, const Input<T>* in) {
  typedef Vector<T> V;
  const int64_t width = instruction.width;
  const V zero = {}, one = splat(T(1));
#define UNARY(name, expression)                                                     \
  case name:                                                                        \
    return for_each<T, 1>(rows, width, out, out_stride, in, [&](const V* v) -> V { \
      const V x = v[0];                                                             \
      return expression;                                                            \
    })
#define BINARY(name, expression)                                                    \
  case name:                                                                        \
    return for_each<T, 2>(rows, width, out, out_stride, in, [&](const V* v) -> V { \
      const V x = v[0], y = v[1];                                                   \
      return expression;                                                            \
    })
#define TERNARY(name, expression)                                                   \
  case name:                                                                        \
    return for_each<T, 3>(rows, width, out, out_stride, in, [&](const V* v) -> V { \
      const V x = v[0], y = v[1], z = v[2];                                         \
      return expression;                                                            \
    })
#define LANES(name, function) UNARY(name, by_lane<T>(x, [](T lane) { return T(function(lane)); }))
  switch (Operation(instruction.operation)) {
    UNARY(kCopy, x);
    UNARY(kNeg, -x);
    UNARY(kAbs, x < zero ? -x : x + zero);
    UNARY(kSign, x > zero ? one : (x < zero ? -one : x));
    LANES(kExp, std::exp);
    LANES(kExpm1, std::expm1);
    LANES(kLog, std::log);
    LANES(kLog1p, std::log1p);
    UNARY(kTanh, tanh_of(x));
    UNARY(kLogistic, sigmoid(x));
    LANES(kSqrt, std::sqrt);
    UNARY(kRsqrt, one / by_lane<T>(x, [](T lane) { return T(std::sqrt(lane)); }));
    LANES(kSin, std::sin);
    LANES(kCos, std::cos);
    LANES(kErf, std::erf);
    UNARY(kNot, truth<T>(x == zero));
    UNARY(kSquare, x * x);
    LANES(kFloor, std::floor);
    LANES(kCeil, std::ceil);
    BINARY(kAdd, x + y);
    BINARY(kSub, x - y);
    BINARY(kMul, x * y);
    BINARY(kDiv, x / y);
    BINARY(kMax, greater<T>(x, y));
    BINARY(kMin, smaller<T>(x, y));
    BINARY(kPow, ([&] {
             V power = x;
             for (int i = 0; i < kLanes<T>; ++i) power[i] = std::pow(x[i], y[i]);
             return power;
           }()));
    BINARY(kEq, truth<T>(x == y));
    BINARY(kNe, truth<T>(x != y));
    BINARY(kLt, truth<T>(x < y));
    BINARY(kLe, truth<T>(x <= y));
    BINARY(kGt, truth<T>(x > y));
    BINARY(kGe, truth<T>(x >= y));
    BINARY(kAnd, x * y);
    BINARY(kOr, greater<T>(x, y));
    TERNARY(kSelect, x != zero ? z : y);
    TERNARY(kClamp, smaller<T>(greater<T>(y, x), z));
    case kSum:
      return sum(rows, width, out, out_stride, in[0]);
    case kMaxOver:
      return reduce(rows, width, out, out_stride, in[0], [](T a, T b) { return a != a ? a : (b != b ? b : std::max(a, b)); });
    case kMinOver:
      return reduce(rows, width, out, out_stride, in[0], [](T a, T b) { return a != a ? a : (b != b ? b : std::min(a, b)); });
    case kMatmul:
      return;
  }
#undef UNARY
#undef BINARY
#undef TERNARY
#undef LANES
}

int inputs_of(int64_t operation) {
  if (operation >= kSum) return 1;
  if (operation >= kSelect) return 3;
  return operation >= kAdd ? 2 : 1;
}

// --------------------------------------------------------------------------------------------------------- loop

struct Freed {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
std::unique_ptr<T, Freed> allocate(int64_t count) {
  const size_t bytes = (size_t(std::max<int64_t>(count, 1)) * sizeof(T) + 127) / 64 * 64;
  return std::unique_ptr<T, Freed>(static_cast<T*>(std::aligned_alloc(64, bytes)));
}

// Subnormals count as zero, as in XLA's own code.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : saved_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(saved_ | 0x8040); }
  ~FlushSubnormals() { __builtin_ia32_ldmxcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

// Run parts 0 to n - 1 on the pool. The caller takes part, and never waits for a part that nobody has begun: all
// threads of the pool may be in such a call.
template <class F>
void in_parallel(ffi::ThreadPool& pool, int64_t n, const F& part) {
  if (n <= 1) return part(0);
  struct State {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto state = std::make_shared<State>();
  const F* shared_part = &part;
  auto work = [state, shared_part, n] {
    for (int64_t i; (i = state->next.fetch_add(1)) < n;) {
      (*shared_part)(i);
      state->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t i = 1; i < n; ++i) pool.Schedule([work] { work(); });
  work();
  while (state->done.load(std::memory_order_acquire) < n) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

template <class T>
struct Arrays {
  std::vector<T*> arguments, results;
  const T* literals;
};

// Take the rows from `first` to `last` through all steps.
template <class T>
bool run_rows(const Program& program, const Arrays<T>& arrays, const std::vector<Packed<T>>& weights, int64_t first,
              int64_t last) {
  FlushSubnormals flush;
  const int64_t rows = last - first;
  int64_t chunk_size = 0;
  for (const Segment& segment : program.segments) chunk_size = std::max(chunk_size, segment.chunk_width);
  // A chunk of 24 KiB stays in the first cache; short chunks of wide rows are vectors long anyway.
  const int64_t elements = 24 * 1024 / int64_t(sizeof(T));
  auto thread_memory = allocate<T>(rows * program.thread_width);
  auto chunk_memory = allocate<T>(std::max(elements, chunk_size));
  if (!thread_memory || !chunk_memory) return false;

  std::vector<T*> base(program.buffers.size());
  auto pointer = [&](const Operand& operand, int64_t row, int64_t chunk_row) -> T* {
    const Buffer& buffer = program.buffers[operand.buffer];
    const int64_t origin = buffer.space == kChunk ? row - chunk_row : row;
    return base[operand.buffer] + operand.offset + origin * buffer.row_stride;
  };
  auto copy_rows = [&](T* to, int64_t to_stride, const T* from, int64_t from_stride, int64_t width) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_stride, from + r * from_stride, width * sizeof(T));
  };
  auto set_bases = [&](int64_t t) {
    for (size_t i = 0; i < base.size(); ++i) {
      const Buffer& buffer = program.buffers[i];
      switch (Space(buffer.space)) {
        case kArgument:
          base[i] = arrays.arguments[buffer.index] + t * buffer.step_stride + first * buffer.row_stride;
          break;
        case kResult:
          base[i] = arrays.results[buffer.index] + t * buffer.step_stride + first * buffer.row_stride;
          break;
        case kThread:
          base[i] = thread_memory.get() + buffer.index * rows;
          break;
        case kLiteral:
          base[i] = const_cast<T*>(arrays.literals) + buffer.index;
          break;
        case kChunk:
          break;
      }
    }
  };

  set_bases(0);
  for (const CarryLeaf& leaf : program.carry) {
    const T* start = arrays.arguments[leaf.argument] + first * leaf.width;
    copy_rows(pointer(leaf.state, 0, 0), leaf.width, start, leaf.width, leaf.width);
  }
  for (int64_t step = 0; step < program.steps; ++step) {
    set_bases(program.reverse ? program.steps - 1 - step : step);
    for (const Segment& segment : program.segments) {
      const Instruction* instructions = program.instructions.data() + segment.first;
      if (!segment.chunk_width) {
        const Instruction& product = instructions[0];
        const Operand &a = product.in[0], &addend = product.in[1];
        const bool adds = addend.buffer >= 0;
        matmul<T>(rows, pointer(a, 0, 0), program.buffers[a.buffer].row_stride, weights[product.weight],
                  adds ? pointer(addend, 0, 0) : nullptr, adds ? program.buffers[addend.buffer].row_stride : 0,
                  pointer(product.out, 0, 0), program.buffers[product.out.buffer].row_stride);
        continue;
      }
      const int64_t chunk_rows = std::max<int64_t>(1, elements / segment.chunk_width);
      for (int64_t row = 0; row < rows; row += chunk_rows) {
        const int64_t count = std::min(chunk_rows, rows - row);
        for (size_t i = 0; i < base.size(); ++i)
          if (program.buffers[i].space == kChunk)
            base[i] = chunk_memory.get() + program.buffers[i].index * count;
        for (int64_t i = 0; i < segment.count; ++i) {
          const Instruction& instruction = instructions[i];
          Input<T> in[3] = {};
          for (int k = 0; k < inputs_of(instruction.operation); ++k) {
            const Operand& operand = instruction.in[k];
            in[k] = {pointer(operand, row, row), program.buffers[operand.buffer].row_stride,
                     operand.column_stride == 0};
          }
          run<T>(instruction, count, pointer(instruction.out, row, row),
                 program.buffers[instruction.out.buffer].row_stride, in);
        }
      }
    }
    for (const CarryLeaf& leaf : program.carry)
      copy_rows(pointer(leaf.state, 0, 0), leaf.width, pointer(leaf.next, 0, 0),
                program.buffers[leaf.next.buffer].row_stride, leaf.width);
  }
  for (const CarryLeaf& leaf : program.carry)
    copy_rows(arrays.results[leaf.result] + first * leaf.width, leaf.width, pointer(leaf.state, 0, 0), leaf.width,
              leaf.width);
  return true;
}

template <class T>
ffi::Error loop(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                ffi::Span<const int64_t> words, ffi::Span<const double> literals, int32_t parts) {
  Program program;
  if (!parse(words, program)) return ffi::Error::Internal("nlstm_jax: the program of a native loop cannot be read");
  std::vector<T> literal_values(literals.begin(), literals.end());
  Arrays<T> arrays;
  arrays.literals = literal_values.data();
  for (size_t i = 0; i < arguments.size(); ++i)
    arrays.arguments.push_back(static_cast<T*>(arguments.get<ffi::AnyBuffer>(i).value().untyped_data()));
  for (size_t i = 0; i < results.size(); ++i)
    arrays.results.push_back(static_cast<T*>((*results.get<ffi::AnyBuffer>(i))->untyped_data()));

  // Blocks of fewer than eight rows waste the registers of a matmul.
  const int64_t most = std::max<int64_t>(1, program.rows / 8);
  const int64_t threads = parts > 0 ? std::min<int64_t>(parts, program.rows) : std::min<int64_t>(pool.num_threads(), most);

  std::vector<Packed<T>> weights;
  std::vector<std::unique_ptr<T, Freed>> memory;
  for (const Weight& weight : program.weights) {
    const int64_t panels = (weight.columns + Packed<T>::kWidth - 1) / Packed<T>::kWidth;
    memory.push_back(allocate<T>(panels * weight.inner * Packed<T>::kWidth));
    if (!memory.back()) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "nlstm_jax: out of memory");
    weights.push_back({weight.inner, weight.columns, panels, memory.back().get()});
  }
  in_parallel(pool, threads, [&](int64_t i) {
    for (size_t k = 0; k < weights.size(); ++k)
      weights[k].pack(arrays.arguments[program.weights[k].argument], program.weights[k],
                      weights[k].panels * i / threads, weights[k].panels * (i + 1) / threads);
  });
  std::atomic<bool> succeeded{true};
  in_parallel(pool, threads, [&](int64_t i) {
    const int64_t first = program.rows * i / threads, last = program.rows * (i + 1) / threads;
    if (!run_rows<T>(program, arrays, weights, first, last)) succeeded = false;
  });
  if (!succeeded) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "nlstm_jax: out of memory");
  return ffi::Error::Success();
}

ffi::Error loop_float32(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                        ffi::Span<const int64_t> program, ffi::Span<const double> literals, int32_t parts) {
  return loop<float>(pool, arguments, results, program, literals, parts);
}
ffi::Error loop_float64(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                        ffi::Span<const int64_t> program, ffi::Span<const double> literals, int32_t parts) {
  return loop<double>(pool, arguments, results, program, literals, parts);
}

}  // namespace

#define NLSTM_JAX_BINDING                      \
  ffi::Ffi::Bind()                             \
      .Ctx<ffi::ThreadPool>()                  \
      .RemainingArgs()                         \
      .RemainingRets()                         \
      .Attr<ffi::Span<const int64_t>>("program") \
      .Attr<ffi::Span<const double>>("literals") \
      .Attr<int32_t>("parts")

XLA_FFI_DEFINE_HANDLER_SYMBOL(nlstm_jax_loop_float32, loop_float32, NLSTM_JAX_BINDING);
XLA_FFI_DEFINE_HANDLER_SYMBOL(nlstm_jax_loop_float64, loop_float64, NLSTM_JAX_BINDING);
