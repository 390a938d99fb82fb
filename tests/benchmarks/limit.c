// The limit that the benchmarks hold the engine against: the same simulation written by hand.
//
//   cc -O3 -mavx2 -mfma limit.c -lm -o limit                       with fused multiply-add
//   cc -O3 -mavx2 -ffp-contract=off limit.c -lm -o limit           without: what strict IEEE allows
//   ./limit NAME LANES STEPS
//
// NAME is a rule (fresh noise for every lane) or shared_adam (7 strengths share each lane's noise).
// Prints one line of JSON: {"name", "lane_steps_per_s", "mean_theta"}; the time is the process's.
//
// It computes what regdyn.simulate(NAME, "l2", 1e-4, gradient="low") computes, with the same random
// numbers, hence the same mean theta up to rounding. It records nothing but the end, knows one
// regulariser and one gradient process, and holds every choice fixed at compile time. State is
// float64, normals are float32: Philox4x32-10 and Box-Muller with polynomials, eight at a time.
// Vectors are AVX2's: an engine that uses AVX-512 may be faster.

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK 128 // lanes whose state stays in the first-level cache
#define STRENGTHS 7
#define SHARED 16 // lanes of a block of the shared kernel, each under 7 strengths
#define INLINE static inline __attribute__((always_inline))

typedef __m256d f64x4;
typedef __m256 f32x8;
typedef __m256i bits;

// Arithmetic: a * b + c and c - a * b, fused or not -----------------------------------------------

#ifdef __FMA__
#define MADD_PD(a, b, c) _mm256_fmadd_pd(a, b, c)
#define NMADD_PD(a, b, c) _mm256_fnmadd_pd(a, b, c)
#define MADD_PS(a, b, c) _mm256_fmadd_ps(a, b, c)
#define NMADD_PS(a, b, c) _mm256_fnmadd_ps(a, b, c)
#else
#define MADD_PD(a, b, c) _mm256_add_pd(_mm256_mul_pd(a, b), c)
#define NMADD_PD(a, b, c) _mm256_sub_pd(c, _mm256_mul_pd(a, b))
#define MADD_PS(a, b, c) _mm256_add_ps(_mm256_mul_ps(a, b), c)
#define NMADD_PS(a, b, c) _mm256_sub_ps(c, _mm256_mul_ps(a, b))
#endif

INLINE f64x4 all(double x) { return _mm256_set1_pd(x); }
INLINE f32x8 all8(float x) { return _mm256_set1_ps(x); }

// Random numbers: as in regdyn/random.py -----------------------------------------------------------

typedef struct {
    bits word[4];
} words;

static bits key0[10], key1[10]; // of each round

static void set_seed(uint64_t seed) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int r = 0; r < 10; r++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        key0[r] = _mm256_set1_epi64x(k0);
        key1[r] = _mm256_set1_epi64x(k1);
    }
}

// Philox4x32-10 of four counters, one in each 64-bit lane; the upper halves hold garbage.
INLINE words philox(bits c0, bits c1, bits c2, bits c3) {
    const bits m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
#pragma GCC unroll 10
    for (int r = 0; r < 10; r++) {
        bits p0 = _mm256_mul_epu32(m0, c0), p1 = _mm256_mul_epu32(m1, c2);
        c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1), key0[r]);
        c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3), key1[r]);
        c1 = p1;
        c3 = p0;
    }
    return (words){{c0, c1, c2, c3}};
}

// Horner's rule, highest power first.
INLINE f32x8 polynomial(f32x8 x, const float *c, int terms) {
    f32x8 p = all8(c[0]);
#pragma GCC unroll 8
    for (int k = 1; k < terms; k++)
        p = MADD_PS(p, x, all8(c[k]));
    return p;
}

// Two times eight standard normals from words for the radius and for the angle.
INLINE void box_muller(bits a, bits b, f32x8 *z0, f32x8 *z1) {
    static const float LOG[] = {0.0674663856625557f,  -0.11675651371479034f, 0.11888162791728973f,
                                -0.1240558922290802f, 0.14219552278518677f,  -0.1666799634695053f,
                                0.2000211924314499f,  -0.25000008940696716f, 0.3333331346511841f};
    static const float SIN[] = {0.00015820673434063792f, -0.004681266378611326f,
                                0.07969257980585098f, -0.6459640860557556f, 1.5707963705062866f};
    static const float COS[] = {0.0009036316769197583f, -0.02086007222533226f, 0.25366920232772827f,
                                -1.2337005138397217f, 1.0f};
    f32x8 u = MADD_PS(_mm256_cvtepi32_ps(a), all8(0x1p-32f), all8(0.5f));
    bits iu = _mm256_castps_si256(_mm256_max_ps(u, all8(0x1p-33f)));
    bits exponent = _mm256_srai_epi32(_mm256_sub_epi32(iu, _mm256_set1_epi32(0x3f3504f3)), 23);
    bits mantissa = _mm256_sub_epi32(iu, _mm256_slli_epi32(exponent, 23));
    f32x8 f = _mm256_sub_ps(_mm256_castsi256_ps(mantissa), all8(1.0f)), f2 = _mm256_mul_ps(f, f);
    f32x8 log_u = _mm256_mul_ps(polynomial(f, LOG, 9), _mm256_mul_ps(f2, f));
    log_u = _mm256_add_ps(f, NMADD_PS(all8(0.5f), f2, log_u));
    log_u = MADD_PS(_mm256_cvtepi32_ps(exponent), all8(0.69314718056f), log_u);
    f32x8 radius = _mm256_sqrt_ps(_mm256_mul_ps(all8(-2.0f), log_u));

    f32x8 x = _mm256_mul_ps(_mm256_cvtepi32_ps(b), all8(0x1p-32f)), x2 = _mm256_mul_ps(x, x);
    f32x8 sine = _mm256_mul_ps(polynomial(x2, SIN, 5), x), cosine = polynomial(x2, COS, 5);
    f32x8 swap = _mm256_castsi256_ps(_mm256_slli_epi32(b, 31)); // bit 0, where blendv looks
    bits sign = _mm256_and_si256(_mm256_slli_epi32(b, 30), _mm256_set1_epi32(INT32_MIN));
    radius = _mm256_xor_ps(radius, _mm256_castsi256_ps(sign));
    *z0 = _mm256_mul_ps(radius, _mm256_blendv_ps(cosine, sine, swap));
    *z1 = _mm256_mul_ps(radius, _mm256_blendv_ps(sine, cosine, swap));
}

// Normals of eight lanes in the four steps of a group.
INLINE void normals(long lane, long group, f32x8 z[4]) {
    bits even = _mm256_add_epi64(_mm256_set1_epi64x(lane), _mm256_setr_epi64x(0, 2, 4, 6));
    bits odd = _mm256_add_epi64(even, _mm256_set1_epi64x(1));
    bits step = _mm256_set1_epi64x(group), zero = _mm256_setzero_si256(), w[4];
    words e = philox(step, even, zero, zero), o = philox(step, odd, zero, zero);
    for (int k = 0; k < 4; k++)
        w[k] = _mm256_blend_epi32(e.word[k], _mm256_slli_epi64(o.word[k], 32), 0xAA);
    box_muller(w[0], w[1], &z[0], &z[1]);
    box_muller(w[2], w[3], &z[2], &z[3]);
}

// Update rules: as in regdyn/rules.py, with the paper's hyper-parameters ---------------------------

enum rule { SGD, ADAM, AMSGRAD, ADAGRAD, ADADELTA, RMSPROP, LION };

typedef struct {
    double step, root, std; // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), that of the gradient
} coefficient;

static coefficient *coefficients(int steps) {
    coefficient *c = malloc(sizeof(coefficient) * (steps + 4));
    for (int t = 0; t < steps + 4; t++)
        c[t] = (coefficient){1e-3 / (1 - pow(0.9, t + 1)), 1 / sqrt(1 - pow(0.99, t + 1)),
                             t < 100 ? 1e-3 : 1e-5};
    return c;
}

INLINE f64x4 average(double beta, f64x4 old, f64x4 new) {
    return MADD_PD(all(beta), old, _mm256_mul_pd(all(1 - beta), new));
}

// theta after the step; p[0], p[1], p[2] point to the state of these four lanes.
INLINE f64x4 step(enum rule rule, f64x4 theta, f64x4 g, double *const p[3], const coefficient *c) {
    f64x4 a = _mm256_load_pd(p[0]), b, delta;
    if (rule == SGD) {
        a = MADD_PD(all(0.9), a, g);
        theta = NMADD_PD(all(0.1), a, theta);
    } else if (rule == ADAM || rule == AMSGRAD) {
        a = average(0.9, a, g);
        b = average(0.99, _mm256_load_pd(p[1]), _mm256_mul_pd(g, g));
        _mm256_store_pd(p[1], b);
        if (rule == AMSGRAD) {
            b = _mm256_max_pd(_mm256_load_pd(p[2]), b);
            _mm256_store_pd(p[2], b);
        }
        b = MADD_PD(_mm256_sqrt_pd(b), all(c->root), all(1e-8));
        theta = NMADD_PD(all(c->step), _mm256_div_pd(a, b), theta);
    } else if (rule == ADAGRAD || rule == RMSPROP) {
        a = rule == ADAGRAD ? MADD_PD(g, g, a) : average(0.99, a, _mm256_mul_pd(g, g));
        b = _mm256_add_pd(_mm256_sqrt_pd(a), all(rule == ADAGRAD ? 1e-10 : 1e-8));
        theta = NMADD_PD(all(rule == ADAGRAD ? 1e-2 : 1e-3), _mm256_div_pd(g, b), theta);
    } else if (rule == ADADELTA) {
        b = _mm256_load_pd(p[1]);
        a = average(0.9, a, _mm256_mul_pd(g, g));
        delta = _mm256_div_pd(_mm256_add_pd(b, all(1e-6)), _mm256_add_pd(a, all(1e-6)));
        delta = _mm256_mul_pd(_mm256_sqrt_pd(delta), g);
        _mm256_store_pd(p[1], average(0.9, b, _mm256_mul_pd(delta, delta)));
        theta = _mm256_sub_pd(theta, delta);
    } else {
        b = average(0.9, a, g);
        a = average(0.99, a, g);
        delta = _mm256_or_pd(all(1e-4), _mm256_and_pd(b, all(-0.0)));
        delta = _mm256_and_pd(delta, _mm256_cmp_pd(b, all(0.0), _CMP_NEQ_UQ)); // sign(0) = 0
        theta = _mm256_sub_pd(theta, delta);
    }
    _mm256_store_pd(p[0], a);
    return theta;
}

// Kernels -------------------------------------------------------------------------------------------

typedef struct {
    double theta[BLOCK], a[BLOCK], b[BLOCK], c[BLOCK];
} block;

INLINE void update(enum rule rule, block *s, int i, const float *z, const coefficient *c) {
    f64x4 theta = _mm256_load_pd(s->theta + i);
    f64x4 noise = _mm256_mul_pd(_mm256_cvtps_pd(_mm_load_ps(z + i)), all(c->std));
    f64x4 g = MADD_PD(all(1e-4), theta, noise);
    double *const state[3] = {s->a + i, s->b + i, s->c + i};
    _mm256_store_pd(s->theta + i, step(rule, theta, g, state, c));
}

INLINE void draw(float (*z)[BLOCK], int i, long lane, long group) {
    f32x8 eight[4];
    normals(lane + i, group, eight);
    for (int k = 0; k < 4; k++)
        _mm256_store_ps(&z[k][i], eight[k]);
}

// Fresh noise: while 32 lanes make a step, the next group's normals of 8 lanes are drawn, so that
// integer work fills the time in which the divider is busy.
INLINE void fresh(enum rule rule, long lanes, int steps, const coefficient *c, double *out) {
    for (long lane = 0; lane < lanes; lane += BLOCK) {
        block s __attribute__((aligned(64)));
        float z[2][4][BLOCK] __attribute__((aligned(64)));
        memset(&s, 0, sizeof s);
        for (int i = 0; i < BLOCK; i++)
            s.theta[i] = 1.0;
        for (int i = 0; i < BLOCK; i += 8)
            draw(z[0], i, lane, 0);
        for (int t = 0; t < steps; t += 4) {
            int now = (t >> 2) & 1, drawn = 0;
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < BLOCK; i += 32, drawn += 8) {
                    draw(z[1 - now], drawn, lane, (t >> 2) + 1);
#pragma GCC unroll 8
                    for (int j = 0; j < 32; j += 4)
                        update(rule, &s, i + j, z[now][k], c + t + k);
                }
        }
        memcpy(out + lane, s.theta, sizeof s.theta);
    }
}

// One step of Adam in SHARED lanes under every strength; z holds their normals.
INLINE void shared_step(double (*s)[STRENGTHS][SHARED], const float *z, const coefficient *c) {
    static const double LAMBDA[STRENGTHS] = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6};
    f64x4 noise[SHARED / 4];
    for (int i = 0; i < SHARED; i += 4)
        noise[i / 4] = _mm256_mul_pd(_mm256_cvtps_pd(_mm_load_ps(z + i)), all(c->std));
    for (int l = 0; l < STRENGTHS; l++)
        for (int i = 0; i < SHARED; i += 4) {
            f64x4 theta = _mm256_load_pd(&s[0][l][i]);
            f64x4 g = MADD_PD(all(LAMBDA[l]), theta, noise[i / 4]);
            double *const state[3] = {&s[1][l][i], &s[2][l][i], NULL};
            _mm256_store_pd(&s[0][l][i], step(ADAM, theta, g, state, c));
        }
}

static void shared_adam(long lanes, int steps, const coefficient *c, double *out) {
    for (long lane = 0; lane < lanes; lane += SHARED) {
        double s[3][STRENGTHS][SHARED] __attribute__((aligned(64)));
        float z[4][SHARED] __attribute__((aligned(64)));
        memset(s, 0, sizeof s);
        for (int l = 0; l < STRENGTHS; l++)
            for (int i = 0; i < SHARED; i++)
                s[0][l][i] = 1.0;
        for (int t = 0; t < steps; t += 4) {
            for (int i = 0; i < SHARED; i += 8) {
                f32x8 eight[4];
                normals(lane + i, t >> 2, eight);
                for (int k = 0; k < 4; k++)
                    _mm256_store_ps(&z[k][i], eight[k]);
            }
            for (int k = 0; k < 4; k++)
                shared_step(s, z[k], c + t + k);
        }
        memcpy(out + STRENGTHS * lane, s[0], sizeof s[0]);
    }
}

#define FRESH(NAME, RULE)                                                                          \
    static void NAME(long lanes, int steps, const coefficient *c, double *out) {                   \
        fresh(RULE, lanes, steps, c, out);                                                         \
    }
FRESH(sgd, SGD)
FRESH(adam, ADAM)
FRESH(amsgrad, AMSGRAD)
FRESH(adagrad, ADAGRAD)
FRESH(adadelta, ADADELTA)
FRESH(rmsprop, RMSPROP)
FRESH(lion, LION)

typedef struct {
    const char *name;
    void (*run)(long, int, const coefficient *, double *);
    int strengths;
} kernel;

static const kernel KERNELS[] = {
    {"sgd", sgd, 1},           {"adam", adam, 1},       {"amsgrad", amsgrad, 1},
    {"adagrad", adagrad, 1},   {"adadelta", adadelta, 1}, {"rmsprop", rmsprop, 1},
    {"lion", lion, 1},         {"shared_adam", shared_adam, STRENGTHS},
};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void measure(const kernel *k, long lanes, int steps) {
    long n = lanes * k->strengths;
    coefficient *c = coefficients(steps);
    double *theta = aligned_alloc(64, n * sizeof(double)), sum = 0;
    set_seed(0);
    k->run(lanes, 4, c, theta); // touches the memory
    double start = seconds();
    k->run(lanes, steps, c, theta);
    double took = seconds() - start;
    for (long i = 0; i < n; i++)
        sum += theta[i];
    printf("{\"name\": \"%s\", \"lane_steps_per_s\": %.6g, \"mean_theta\": %.17g}\n", k->name,
           (double)n * steps / took, sum / n);
    free(c);
    free(theta);
}

int main(int argc, char **argv) {
    long lanes = argc == 4 ? atol(argv[2]) : 0, steps = argc == 4 ? atol(argv[3]) : 0;
    for (size_t i = 0; lanes > 0 && steps > 0 && i < sizeof KERNELS / sizeof *KERNELS; i++)
        if (lanes % BLOCK == 0 && steps % 4 == 0 && !strcmp(KERNELS[i].name, argv[1])) {
            measure(&KERNELS[i], lanes, (int)steps);
            return 0;
        }
    fprintf(stderr, "usage: limit NAME LANES STEPS (multiples of %d and 4)\n", BLOCK);
    return 2;
}
